internal import CKernels
internal import Glibc
internal import LinearAlgebra
package import Quantization
package import TensorCore

/// The norm by which the digits of a layer's weight are chosen: the second moment of its inputs, factored.
package struct DigitNorm: Sendable {
    let norm: OutputNorm
    let factor: GPTQFactor

    /// - Throws: ``QuantizationError``.
    package init(_ statistics: InputStatistics) throws(QuantizationError) {
        norm = try OutputNorm(statistics)
        factor = try GPTQFactor(statistics, damping: OutputNorm.damping, byActivation: false)
    }
}

/// A weight as whole numbers with ternary digits: W ≈ diag(a)·(Σ_p 3^p·T_p)·diag(b), that is U = (… T₁ T₀), V a stack of
/// identities, s the powers of 3. Columns of zeros are left out.
///
/// The numbers minimize tr(O·E·H·Eᵀ) + price·bits, see ``OutputNorm``. With H = M·Mᵀ, M upper triangular, and columns in order,
/// later columns compensate the errors of earlier ones, and the loss is Σ_j (M_jj·e_j)². The units b_j ∝ 1/M_jj make all
/// columns lose equally. A price of bits, which adaptive coding realizes (``TernaryCode``), then removes digits that are hardly
/// worth them, and coordinate descent on E·H·Eᵀ itself recovers the loss due to the order of the columns.
///
/// Under 2:4 the digits −1, 0 and 1 are those of powers of 2, and of two neighbors at most one is not 0 (the non-adjacent form,
/// which is unique for every whole number): W ≈ diag(a)·(Σ_p 2^p·T_p)·diag(b). The digits of a column are beside each other, an
/// even number of them, so that no four neighbors hold more than two non-zeros, whatever the numbers.
///
/// Units of a quarter of an octave cost a file few bits. 3·m·n²/2 multiply-adds for the passes over the columns, and m·n² for
/// each descent and about n per changed number.
package struct TernaryDigits {
    /// The most digits of a number. A channel with much larger inputs than the others has correspondingly smaller units.
    private static let digits = 9
    /// The largest number, (3^digits − 1)/2.
    private static let largest = 9841
    /// Approximate number of rows in a draft.
    private static let draftRows = 128
    /// Price of a bit divided by the square of the unit. At high rates the error of a number is unit²/12 and falls fourfold
    /// with a bit, so that they balance at ln 2/6 = 0.116. Measurements favor less, since the price always makes numbers too
    /// small.
    private static let price: Float = 0.04
    /// Passes that use the frequencies of the previous pass, and descents.
    private static let (passes, descents) = (2, 2)

    private let shape: [Int]
    private let inputs: DigitNorm
    private let sparsity: TernarySparsity
    /// Scales of rows.
    private let a: [Float]
    /// diag(a)⁻¹·W, `[n, m]`, 0 where an input is always 0.
    private let target: Tensor
    /// tr(O·W·H·Wᵀ).
    package let energy: Double

    package init(
        _ weight: Tensor, _ inputs: DigitNorm, _ weighting: TernaryWeighting, sparsity: TernarySparsity = .none
    ) {
        let (m, n) = (weight.rows, weight.columns)
        (shape, self.inputs, self.sparsity) = (weight.shape, inputs, sparsity)
        let sizes = weight.rowMeanSquares.map { Float($0.squareRoot()) }
        let a = weighting == .both ? sizes.map { $0 > 0 ? $0.roundedToQuarterOctave : 1 } : [Float](repeating: 1, count: m)
        self.a = a
        var scaled = Balance(a: a, b: [Float](repeating: 1, count: n)).applied(to: weight)
        for j in 0..<n where inputs.factor.isDead[j] {
            for i in 0..<m { scaled.mutablePointer[i * n + j] = 0 }
        }
        target = scaled.transposed()
        energy = inputs.norm.squared(scaled, rowWeights: [Float](repeating: 1, count: m))
    }

    /// A sample of evenly spaced rows, at least `draftRows` of them where there are so many, taken as a matrix of its own.
    private init(sampling whole: TernaryDigits) {
        let (m, n) = (whole.shape[0], whole.shape[1])
        let rows = Array(stride(from: 0, to: m, by: max(1, m / Self.draftRows)))
        (shape, inputs, a) = ([rows.count, n], whole.inputs, rows.map { whole.a[$0] })
        sparsity = whole.sparsity
        target = Tensor((0..<n).flatMap { j in rows.map { whole.target.pointer[j * m + $0] } }, [n, rows.count])
        energy = whole.energy * Double(rows.count) / Double(m)
    }

    /// An estimate of the bits that the factors' code takes for ε: one pass over some of the rows.
    package func draftedBits(epsilon: Double) -> Double {
        let sample = TernaryDigits(sampling: self)
        guard let unit = sample.unit(epsilon) else { return 0 }
        var numbers = sample.numbers(unit)
        numbers.round(sample.target, inputs.factor)
        let bytes = TernaryCode.encode(sample.packed(numbers, 0)).count
        return Double(8 * bytes) * Double(shape[0]) / Double(sample.shape[0])
    }

    /// A result, and √(tr(O·E·H·Eᵀ)/tr(O·W·H·Wᵀ)).
    package struct Result {
        package let factors: TernaryFactors
        package let relativeError: Double
    }

    /// The factors for the unit that would lose a share ε² of the energy if all numbers were rounded to nearest: unit² =
    /// 12·ε²·energy/(m·n).
    ///
    /// - Parameter eachStep: called before every step; what it throws ends the work.
    package func factors(epsilon: Double, eachStep: () throws -> Void = {}) throws -> Result {
        guard let unit = unit(epsilon) else {
            let zeros = WholeNumbers(
                rows: shape[0], columns: shape[1], scales: [Float](repeating: 1, count: shape[1]), price: 0,
                largest: Self.largest)
            return Result(factors: packed(zeros, 0), relativeError: 0)
        }
        var numbers = numbers(unit)
        for pass in 0...Self.passes {
            try eachStep()
            if pass > 0 { numbers.noteRates() }
            numbers.round(target, inputs.factor)
        }
        for _ in 0..<Self.descents {
            try eachStep()
            numbers.noteRates()
            numbers.descend(error(numbers), inputs.norm.inputs)
        }
        let lost = inputs.norm.squared(error(numbers), rowWeights: [Float](repeating: 1, count: shape[0]))
        let relativeError = (max(0, lost) / energy).squareRoot()
        return Result(factors: packed(numbers, relativeError), relativeError: relativeError)
    }

    /// nil for a weight of zeros.
    private func unit(_ epsilon: Double) -> Float? {
        let unit = Float((12 * epsilon * epsilon * energy / Double(shape[0] * shape[1])).squareRoot())
        return unit > 0 && unit.isFinite ? unit : nil
    }

    /// Numbers that are all 0, with units that make all columns lose equally.
    private func numbers(_ unit: Float) -> WholeNumbers {
        WholeNumbers(
            rows: shape[0], columns: shape[1], scales: inputs.factor.diagonal.map { (unit / $0).roundedToQuarterOctave },
            price: Self.price * unit * unit, largest: Self.largest)
    }

    /// diag(a)⁻¹·W less the numbers, `[m, n]`.
    private func error(_ numbers: WholeNumbers) -> Tensor {
        var result = target.transposed()
        let (pointer, n) = (result.mutablePointer, shape[1])
        for (place, code) in numbers.codes.enumerated() where code != 0 {
            pointer[place] -= Float(code) * numbers.scales[place % n]
        }
        return result
    }

    private func packed(_ numbers: WholeNumbers, _ relativeError: Double) -> TernaryFactors {
        let (m, n) = (shape[0], shape[1])
        let digits = sparsity == .none ? DigitColumns(ternary: numbers.codes, n) : DigitColumns(binary: numbers.codes, n)
        let k = digits.places.count
        var v = Tensor(zeros: [k, n])
        for (component, place) in digits.places.enumerated() { v.mutablePointer[component * n + place] = 1 }
        return TernaryFactors(
            u: PackedTernary(Tensor(digits.columns, [k, m]).transposed()), s: digits.scales, v: PackedTernary(v),
            balance: Balance(a: a, b: numbers.scales), tolerance: Float(min(0.999, max(1e-5, relativeError))),
            sparsity: sparsity)
    }
}

/// The numbers of a weight, and the bits of each, estimated from frequencies in its column.
private struct WholeNumbers {
    let rows: Int, columns: Int
    let scales: [Float]
    private let price: Float
    private let largest: Int
    /// Numbers with their own frequencies; all larger ones count as the largest of these.
    private static let table = 121
    private(set) var codes: [Int16]
    /// `[columns, 2·limit + 1]`; nil before anything is known.
    private var rates: [Float]?
    private var limit: Int
    /// Weight of the whole matrix's frequencies in a column's, as a number of entries.
    private static let common = 8.0

    init(rows: Int, columns: Int, scales: [Float], price: Float, largest: Int) {
        (self.rows, self.columns, self.scales, self.price, self.largest) = (rows, columns, scales, price, largest)
        codes = [Int16](repeating: 0, count: rows * columns)
        limit = Self.table
    }

    mutating func noteRates() {
        let most = codes.reduce(0) { max($0, Int(abs($1))) }
        limit = min(Self.table, most + 1)
        let width = 2 * limit + 1
        var counts = [Double](repeating: 0, count: columns * width)
        for (place, code) in codes.enumerated() {
            // Both signs are equally likely.
            let first = place % columns * width + limit
            let number = min(limit, max(-limit, Int(code)))
            counts[first + number] += 0.5
            counts[first - number] += 0.5
        }
        var all = [Double](repeating: 0, count: width)
        for (place, count) in counts.enumerated() { all[place % width] += count }
        let tail = (0..<width).map { exp(-1.2 * Double(abs($0 - limit))) }
        let (sum, tails) = (all.reduce(0, +), tail.reduce(0, +))
        let shared = (0..<width).map { Self.common * (0.9 * all[$0] / sum + 0.1 * tail[$0] / tails) }
        let total = log2(Double(rows) + Self.common)
        rates = counts.indices.map { Float(total - log2(counts[$0] + shared[$0 % width])) }
    }

    private func withDigits(_ body: (ck_ternary_digits) -> Void) {
        scales.withUnsafeBufferPointer { scales in
            func run(_ rates: UnsafePointer<Float>?) {
                body(
                    ck_ternary_digits(
                        rows: rows, columns: columns, scales: scales.baseAddress, rates: rates, price: price, limit: limit,
                        largest: largest))
            }
            if let rates { rates.withUnsafeBufferPointer { run($0.baseAddress) } } else { run(nil) }
        }
    }

    mutating func round(_ target: Tensor, _ factor: GPTQFactor) {
        let curves = zip(scales, factor.diagonal).map { ($0 * $1) * ($0 * $1) }
        var errors = [Float](repeating: 0, count: 16 * columns)
        var codes = codes
        withDigits { ck_ternary_round($0, target.pointer, factor.ratios.pointer, curves, &errors, &codes) }
        self.codes = codes
    }

    mutating func descend(_ error: Tensor, _ moment: Tensor) {
        var gradients = matmul(error, .asStored, moment)
        var codes = codes
        withDigits { _ = ck_ternary_recode($0, gradients.mutablePointer, moment.pointer, &codes, 2) }
        self.codes = codes
    }
}

extension Float {
    /// The nearest power of 2^¼, by its logarithm, as bfloat16.
    fileprivate var roundedToQuarterOctave: Float { exp2((4 * log2(self)).rounded() / 4).roundedToBFloat16 }
}
