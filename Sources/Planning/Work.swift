/// Computing of one rank, by kind: each kind has a speed of its own.
package struct Work: Sendable, Equatable {
    /// Operations of float32 matrix products.
    package var products = 0.0
    /// Operations of products of bfloat16 numbers.
    package var narrowProducts = 0.0
    /// Operations of double-precision solves, which alone run on one thread.
    package var solves = 0.0
    /// Values written one by one: norms, softmax, quantizers, transforms, sums.
    package var values = 0.0
    /// Weights rounded to integers with a search for the best range.
    package var searches = 0.0

    /// Both, kind by kind.
    package static func + (a: Work, b: Work) -> Work {
        Work(
            products: a.products + b.products, narrowProducts: a.narrowProducts + b.narrowProducts, solves: a.solves + b.solves,
            values: a.values + b.values, searches: a.searches + b.searches)
    }

    /// So many times this.
    package static func * (factor: Double, a: Work) -> Work {
        Work(
            products: factor * a.products, narrowProducts: factor * a.narrowProducts, solves: factor * a.solves,
            values: factor * a.values, searches: factor * a.searches)
    }

    /// The same with all products of bfloat16 numbers.
    var narrowed: Work {
        var work = self
        work.narrowProducts += work.products
        work.products = 0
        return work
    }

    /// Floating-point operations of all products and solves.
    package var operations: Double { products + narrowProducts + solves }

    /// Seconds on a rank that has its cores for itself.
    package func seconds(on cluster: Cluster) -> Double {
        (products + narrowProducts / CalibratedRates.narrowSpeed)
            / (cluster.productFlops * Double(cluster.threadsPerRank) * CalibratedRates.productUtilization)
            + solves / (cluster.productFlops * CalibratedRates.solveRatio)
            + (values * CalibratedRates.secondsPerValue + searches * CalibratedRates.secondsPerSearch)
            / Double(cluster.threadsPerRank)
    }
}

extension Int {
    /// So many things dealt in turn: the largest part, of all.
    func largestShare(_ parts: Int) -> Double { self > 0 ? Double((self + parts - 1) / parts) / Double(self) : 0 }

    /// A count of bytes; of more than an integer holds, which no machine has, the largest.
    init(bytes: Double) { self = bytes < 0x1p63 ? Int(bytes) : .max }
}

/// How fast this program computes what is not a large matrix product, measured once: Benchmarks/plan.md.
enum CalibratedRates {
    /// What the products of a network reach of the peak of a large one.
    static let productUtilization = 0.85
    /// Products of bfloat16 numbers against those of floats, on a processor that has instructions for them.
    static let narrowSpeed = 1.9
    /// Solving in double precision, against the float32 peak.
    static let solveRatio = 0.25
    static let secondsPerValue = 4e-10
    static let secondsPerSearch = 2.9e-8
    /// Of a job: libraries, the tokenizer, measuring the peak.
    static let secondsOfStart = 0.15
    /// Of a training step: its line of metrics, and the ranks' agreement to go on.
    static let secondsOfStep = 2e-3
    /// Of a parameter in files, in values: reading it; writing it as well and reading it back; its two bytes in a digest.
    static let (valuesOfReading, valuesOfWriting, valuesOfADigest) = (10.0, 40.0, 10.0)
    /// A value of a checkpoint: two digests of two bytes each, and writing them.
    static let valuesOfSaving = 2 * valuesOfADigest + 8
    /// A weight taken from memory for the few rows that a token of some sequences has, in values.
    static let valuesOfAWeight = 0.75
}
