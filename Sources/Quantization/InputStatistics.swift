internal import CKernels
internal import LinearAlgebra
package import TensorCore

/// Statistics of the common input of some linear layers: sums over tokens x `[width]` of x, and of x² or x·xᵀ, and the largest
/// |x|; also, where gathered, how far x is from the full-precision network's input.
///
/// The products of one `add(_:exact:)` are formed in float32 and added in double precision. If each call has the tokens of one
/// window, what it adds does not depend on which other windows a rank has. All sums are in one buffer, so that ranks add them
/// in one reduction; maxima are reduced separately.
package final class InputStatistics {
    /// How much is gathered.
    package enum Depth: Sendable, Comparable {
        /// A few numbers per channel.
        case channels
        /// The second moment E[x·xᵀ] too: width·(width + 1)/2 numbers.
        case secondMoment
        /// Also E[(x° − x)·xᵀ], where x° is the full-precision network's input: width² numbers.
        case deviation
    }

    package let width: Int
    package let depth: Depth
    /// The number of tokens; Σ x; then Σ x², or the lower triangle of Σ x·xᵀ, row by row; then Σ (x° − x)·xᵀ where it is
    /// gathered.
    package let sums: DoubleStorage
    /// max |x| of each channel; NaN where a value was NaN.
    package var maxima: [Float]

    /// The most tokens in a product, since float32 sums of more would lose digits.
    private static let limit = 1024
    /// Columns of a product. With so few, the result stays in the cache until it is added.
    private static let panel = 512

    /// Empty statistics.
    package init(width: Int, depth: Depth) {
        precondition(width > 0, "inputs of \(width) channels")
        self.width = width
        self.depth = depth
        let triangle = width * (width + 1) / 2
        let products = depth == .channels ? width : depth == .secondMoment ? triangle : triangle + width * width
        sums = DoubleStorage(zeros: 1 + width + products)
        maxima = [Float](repeating: 0, count: width)
    }

    /// Tokens so far.
    package var rows: Int { Int(sums.pointer[0]) }

    /// E[x] of each channel. - Precondition: there were tokens.
    package var means: [Double] { (0..<width).map { sums.pointer[1 + $0] / sums.pointer[0] } }

    /// E[x²] of each channel. - Precondition: there were tokens.
    package var meanSquares: [Double] {
        let (squares, rows) = (sums.pointer + 1 + width, sums.pointer[0])
        return (0..<width).map { squares[depth == .channels ? $0 : $0 * ($0 + 3) / 2] / rows }
    }

    /// Which channels were 0 in all tokens. Not by their squares: those of what is below 1e-23 are 0 in float32.
    package var isDead: [Bool] { maxima.map { $0 == 0 } }

    /// The diagonal of the second moment that a weight is solved with: E[x²] and `damping` times its mean over the channels
    /// whose squares are not 0; of a dead channel, whose row and column are 0 besides, that mean, so that it takes no part.
    func diagonal(damping: Double) -> [Double] {
        let squares = meanSquares
        let live = squares.filter { $0 > 0 }
        let mean = live.reduce(0, +) / Double(live.count)
        return zip(squares, isDead).map { $1 ? mean : $0 + damping * mean }
    }

    /// Row `i` of the lower triangle of Σ x·xᵀ: entries j ≤ i. - Precondition: second moments are gathered.
    package func productRow(_ i: Int) -> UnsafePointer<Double> {
        precondition(depth >= .secondMoment && i < width, "row \(i) of the products of \(width) channels")
        return UnsafePointer(sums.pointer + 1 + width + i * (i + 1) / 2)
    }

    /// Row `i` of Σ (x° − x)·xᵀ: channel `i` of x° − x with all channels of x. - Precondition: deviations are gathered.
    package func deviationRow(_ i: Int) -> UnsafePointer<Double> {
        precondition(depth == .deviation && i < width, "row \(i) of the deviations of \(width) channels")
        return UnsafePointer(sums.pointer + 1 + width + width * (width + 1) / 2 + i * width)
    }

    /// Adds the rows of `x` `[tokens, width]`.
    ///
    /// - Parameter exact: the same tokens in the full-precision network, where deviations are gathered.
    package func add(_ x: Tensor, exact: Tensor? = nil) {
        precondition(x.columns == width, "inputs \(x.shape) of \(width) channels")
        precondition(depth != .deviation || exact?.shape == x.shape, "no full-precision inputs for \(x.shape)")
        sums.pointer[0] += Double(x.rows)
        addChannels(x)
        guard depth >= .secondMoment else { return }
        var product = Tensor(uninitialized: [min(Self.panel, width), width])
        for first in stride(from: 0, to: x.rows, by: Self.limit) {
            let (rows, offset) = (min(x.rows - first, Self.limit), first * width)
            addProducts(x.pointer + offset, rows: rows, &product)
            guard depth == .deviation, let exact else { continue }
            var deviations = Tensor(uninitialized: [rows, width])
            let target = deviations.mutablePointer
            for i in 0..<rows * width { target[i] = exact.pointer[offset + i] - x.pointer[offset + i] }
            addDeviations(target, x.pointer + offset, rows: rows, &product)
        }
    }

    /// Adds `xᵀ·x` of `[rows, width]`.
    private func addProducts(_ x: UnsafePointer<Float>, rows: Int, _ product: inout Tensor) {
        let target = product.mutablePointer
        for first in stride(from: 0, to: width, by: Self.panel) {
            let count = min(Self.panel, width - first)
            if first > 0 {
                gemm(
                    .transposed, .asStored, m: count, n: first, k: rows, x + first, lda: width, x, ldb: width, target,
                    ldc: width)
            }
            gram(n: count, k: rows, x + first, lda: width, target + first, ldc: width)
            for i in 0..<count {
                let (sum, row) = (sums.pointer + 1 + width + (first + i) * (first + i + 1) / 2, target + i * width)
                ck_accumulate(row, sum, first + i + 1)
            }
        }
    }

    /// Adds `deviationsᵀ·x` of `[rows, width]` each.
    private func addDeviations(
        _ deviations: UnsafePointer<Float>, _ x: UnsafePointer<Float>, rows: Int, _ product: inout Tensor
    ) {
        let target = product.mutablePointer
        for first in stride(from: 0, to: width, by: Self.panel) {
            let count = min(Self.panel, width - first)
            gemm(
                .transposed, .asStored, m: count, n: width, k: rows, deviations + first, lda: width, x, ldb: width, target,
                ldc: width)
            let sum = sums.pointer + 1 + width + width * (width + 1) / 2 + first * width
            for i in 0..<count { ck_accumulate(target + i * width, sum + i * width, width) }
        }
    }

    private func addChannels(_ x: Tensor) {
        let sums = sums.pointer + 1
        maxima.withUnsafeMutableBufferPointer { maxima in
            ck_channel_sums(
                x.pointer, x.rows, width, sums, depth == .channels ? sums + width : nil, maxima.baseAddress)
        }
    }

    /// - Throws: ``QuantizationError`` where there were no tokens, where a value was not finite, or where all values are 0 or
    ///   so small that their second moments are 0.
    package func check() throws(QuantizationError) {
        guard rows > 0 else { throw .noInputs }
        guard maxima.allSatisfy(\.isFinite), sums.elements.allSatisfy(\.isFinite) else { throw .inputsNotFinite }
        guard maxima.contains(where: { $0 > 0 }) else { throw .inputsZero }
        if depth >= .secondMoment, !meanSquares.contains(where: { $0 > 0 }) { throw .inputsZero }
    }
}
