/// The computation of one rank, by kind, since each kind has its own speed.
package struct Work: Sendable, Equatable {
    /// Operations of float32 matrix products.
    package var products = 0.0
    /// What small products take besides their own operations, as operations of large ones.
    package var overhead = 0.0
    /// Operations of products of bfloat16 numbers.
    package var narrowProducts = 0.0
    /// Operations of double-precision solves, the only kind that runs on one thread.
    package var solves = 0.0
    /// Values written one by one: norms, softmax, quantizers, transforms, sums.
    package var values = 0.0
    /// Weights rounded to integers with a search for the best range.
    package var searches = 0.0

    /// The sum of two, kind by kind.
    package static func + (a: Work, b: Work) -> Work {
        Work(
            products: a.products + b.products, overhead: a.overhead + b.overhead,
            narrowProducts: a.narrowProducts + b.narrowProducts, solves: a.solves + b.solves,
            values: a.values + b.values, searches: a.searches + b.searches)
    }

    /// This work `factor` times.
    package static func * (factor: Double, a: Work) -> Work {
        Work(
            products: factor * a.products, overhead: factor * a.overhead, narrowProducts: factor * a.narrowProducts,
            solves: factor * a.solves,
            values: factor * a.values, searches: factor * a.searches)
    }

    /// The same work with all products in bfloat16.
    var narrowed: Work {
        var work = self
        work.narrowProducts += work.products
        work.products = 0
        return work
    }

    /// Floating-point operations of all products and solves.
    package var operations: Double { products + narrowProducts + solves }

    /// Seconds on a rank that has its cores to itself.
    package func seconds(on cluster: Cluster) -> Double {
        (products + overhead + narrowProducts / CalibratedRates.narrowSpeed)
            / (cluster.productFlops * Double(cluster.threadsPerRank) * CalibratedRates.productUtilization)
            + solves / (cluster.productFlops * CalibratedRates.solveRatio)
            + (values * CalibratedRates.secondsPerValue + searches * CalibratedRates.secondsPerSearch)
            / Double(cluster.threadsPerRank)
    }
}

extension Int {
    /// The share of the largest part if `self` items are dealt in turn to `parts` parts.
    func largestShare(_ parts: Int) -> Double { self > 0 ? Double((self + parts - 1) / parts) / Double(self) : 0 }

    /// A count of bytes; the largest integer where it exceeds that, which no machine has.
    init(bytes: Double) { self = bytes < 0x1p63 ? Int(bytes) : .max }
}

/// Speed of computations other than large matrix products, measured once: Benchmarks/plan.md.
enum CalibratedRates {
    /// The share of a large product's peak speed that the products of a network reach, besides ``valuesOfAWeight``.
    static let productUtilization = 0.97
    /// How much longer products of a head's 64 or 128 rows take than large ones.
    static let attentionSlowdown = 1.15
    /// Speed of bfloat16 products relative to float32 products, on a processor that has instructions for them.
    static let narrowSpeed = 1.9
    /// Speed of solving in double precision, relative to the float32 peak.
    static let solveRatio = 0.25
    static let secondsPerValue = 4e-10
    static let secondsPerSearch = 2.9e-8
    /// Seconds at the start of a job: libraries, the tokenizer, measuring the peak.
    static let secondsOfStart = 0.15
    /// Seconds of a training step for its line of metrics and the ranks' agreement to continue.
    static let secondsOfStep = 2e-3
    /// Seconds of a byte of memory that the system gives for the first time: 1.25 µs to clear a page of 4 KiB.
    static let secondsOfAByte = 3e-10
    /// File work for a parameter, in written values: reading it; writing it and reading it back; hashing its two bytes.
    static let (valuesOfReading, valuesOfWriting, valuesOfADigest) = (10.0, 40.0, 10.0)
    /// A value of a checkpoint: two digests of two bytes each, and writing them.
    static let valuesOfSaving = 2 * valuesOfADigest + 8
    /// Reading a weight and laying it out for a product, however many rows that has, in written values: from memory, and where
    /// all weights stay in a core's share of the last cache.
    static let (valuesOfAWeight, valuesOfANearWeight) = (0.8, 0.45)
    /// Weights that do.
    static let nearWeights = 4 << 20
    /// A parameter in a step of training, in written values: emptying its gradient, squaring that for the norm, the update of
    /// the parameter and its moments.
    static let (valuesOfEmptying, valuesOfSquaring, valuesOfAnUpdate) = (0.3, 0.3, 1.2)
}
