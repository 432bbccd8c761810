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
    /// Rows and columns of a product. With so few, the result stays in the cache until it is added, and threads have enough of
    /// them to share.
    private static let panel = 128

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
        for first in stride(from: 0, to: x.rows, by: Self.limit) {
            let (rows, offset) = (min(x.rows - first, Self.limit), first * width)
            addProducts(x.pointer + offset, rows: rows)
            guard depth == .deviation, let exact else { continue }
            var deviations = Tensor(uninitialized: [rows, width])
            let target = deviations.mutablePointer
            Team.copy(exact.pointer + offset, to: target, rows * width)
            Team.add(x.pointer + offset, to: target, rows * width, scale: -1)
            addDeviations(target, x.pointer + offset, rows: rows)
        }
    }

    /// Adds the lower triangle of `xᵀ·x` of `[rows, width]`.
    private func addProducts(_ x: UnsafePointer<Float>, rows: Int) {
        let panels = (width + Self.panel - 1) / Self.panel
        let sums = sums.pointer + 1 + width
        addPanels(panels * (panels + 1) / 2, x, x, rows: rows) { tile in
            // The last row of panels whose first tile is not beyond this one.
            var row = Int(Double(2 * tile).squareRoot())
            while row * (row + 1) / 2 > tile { row -= 1 }
            return (row, tile - row * (row + 1) / 2)
        } target: { row, first, count in
            (sums + row * (row + 1) / 2 + first, min(count, row + 1 - first))
        }
    }

    /// Adds `deviationsᵀ·x` of `[rows, width]` each.
    private func addDeviations(_ deviations: UnsafePointer<Float>, _ x: UnsafePointer<Float>, rows: Int) {
        let panels = (width + Self.panel - 1) / Self.panel
        let (width, sums) = (width, sums.pointer + 1 + width + width * (width + 1) / 2)
        addPanels(panels * panels, deviations, x, rows: rows) { tile in
            (tile / panels, tile % panels)
        } target: { row, first, count in
            (sums + row * width + first, count)
        }
    }

    /// Adds tiles of `aᵀ·b` of `[rows, width]` each, which threads share.
    ///
    /// - Parameters:
    ///   - place: panels of a's and of b's columns that a tile is the product of.
    ///   - target: where a tile's row, given by its number, its first column and its columns, is added, and how many are.
    private func addPanels(
        _ tiles: Int, _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, rows: Int, place: (Int) -> (Int, Int),
        target: (_ row: Int, _ first: Int, _ count: Int) -> (UnsafeMutablePointer<Double>, Int)
    ) {
        Team.share(tiles, cost: Self.panel * Self.panel * rows / 8) { range in
            var memory = Tensor(uninitialized: [Self.panel, Self.panel])
            let product = memory.mutablePointer
            for tile in range {
                let (i, j) = (place(tile).0 * Self.panel, place(tile).1 * Self.panel)
                let (m, n) = (min(Self.panel, width - i), min(Self.panel, width - j))
                gemm(
                    .transposed, .asStored, m: m, n: n, k: rows, a + i, lda: width, b + j, ldb: width, product,
                    ldc: Self.panel)
                for row in 0..<m {
                    let (sum, count) = target(i + row, j, n)
                    ck_accumulate(product + row * Self.panel, sum, count)
                }
            }
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
