package import Autograd
internal import CKernels
internal import LinearAlgebra
package import TensorCore

/// x ↦ H·x/√n on every block of n values of every row: orthogonal, so that the inverse is the transpose.
///
/// H_n = H_m ⊗ H_{2^a}: a butterfly over 2^a contiguous values, then m×m sums across them, four terms at a time; about (a + m/4
/// + 6)·n operations a block, never n². Where the rows' length has no Hadamard matrix, the transform is block-diagonal with the
/// largest block that divides it.
package struct HadamardTransform: Sendable {
    /// Length of the rows.
    package let columns: Int
    /// The block; its order is `columns` unless no construction reaches that.
    package let block: HadamardOrder
    /// H_m; nil where m is 1.
    private let factor: FactorMatrix?

    /// A factor H_m in the forms that products with it take.
    private struct FactorMatrix {
        /// `[m, m]`.
        let values: Tensor
        /// The rows of H_m and of its transpose as ``ck_mix_signs`` reads them.
        let signs, transposedSigns: [UInt8]

        init(_ matrix: HadamardMatrix) {
            let m = matrix.order
            values = Tensor(matrix.elements.map(Float.init), [m, m])
            func packed(_ element: (_ row: Int, _ column: Int) -> Int) -> [UInt8] {
                (0..<m * m / 4).map { index in
                    let (row, column) = (index / (m / 4), index % (m / 4) * 4)
                    return (0..<4).reduce(0) { $0 | (element(row, column + $1) < 0 ? 1 << UInt8($1) : 0) }
                }
            }
            signs = packed { matrix[$0, $1] }
            transposedSigns = packed { matrix[$1, $0] }
        }
    }

    package var isBlockDiagonal: Bool { block.order != columns }

    /// The transform of rows of this length, by the largest Hadamard matrix known whose order divides it.
    package init(columns: Int) {
        self.columns = columns
        let block = HadamardOrder.largestBlock(dividing: columns)
        self.block = block
        let matrix = block.factor == 1 ? nil : HadamardMatrix(order: block.factor)
        factor = matrix.map(FactorMatrix.init)
    }

    /// x ← H·x/√n, row by row.
    package func apply(_ x: inout Tensor) {
        let target = x.mutablePointer
        transform(x, into: target, .asStored)
    }

    /// x ← Hᵀ·x/√n, row by row.
    package func applyInverse(_ x: inout Tensor) {
        let target = x.mutablePointer
        transform(x, into: target, .transposed)
    }

    /// H·x/√n, row by row.
    func applied(to x: Tensor) -> Tensor {
        var result = Tensor(uninitialized: x.shape)
        transform(x, into: result.mutablePointer, .asStored)
        return result
    }

    /// Hᵀ·x/√n, row by row.
    func inverseApplied(to x: Tensor) -> Tensor {
        var result = Tensor(uninitialized: x.shape)
        transform(x, into: result.mutablePointer, .transposed)
        return result
    }

    /// The transform as a matrix acting on row vectors, x·T: T = Hᵀ/√n (block-diagonal), `[columns, columns]`.
    package var matrix: Tensor {
        var result = Tensor(identity: columns)
        apply(&result)
        return result
    }

    /// A random orthogonal matrix R = diag(signs)·Hᵀ/√n: x·R flips signs, then transforms.
    package func randomized(from random: inout RandomStream) -> Tensor {
        randomized(signs: (0..<columns).map { _ in random.next() >> 63 == 0 ? 1 : -1 })
    }

    /// R = diag(signs)·Hᵀ/√n for given signs.
    package func randomized(signs: [Float]) -> Tensor {
        precondition(signs.count == columns, "\(signs.count) signs for \(columns) columns")
        var result = Tensor(zeros: [columns, columns])
        for (i, sign) in signs.enumerated() { result[i, i] = sign }
        apply(&result)
        return result
    }

    /// - Parameter target: x's own elements, or equally many elsewhere, to which each thread copies what it transforms.
    private func transform(_ x: Tensor, into target: UnsafeMutablePointer<Float>, _ orientation: Orientation) {
        // Rows may hold several vectors that are transformed in the same way: the heads of q and k.
        precondition(x.columns % columns == 0, "a transform of \(columns) values on rows of \(x.columns)")
        let (order, m, power) = (block.order, block.factor, block.power)
        let scale = 1 / Float(order).squareRoot()
        let source = x.pointer
        func butterflies(_ blocks: Range<Int>, _ target: UnsafeMutablePointer<Float>) -> UnsafeMutablePointer<Float> {
            let (first, count) = (blocks.lowerBound * order, blocks.count * order)
            if UnsafePointer(target) != source { (target + first).update(from: source + first, count: count) }
            ck_fwht(target + first, blocks.count * m, power, scale)
            return target + first
        }
        let blocks = x.count / order
        guard let factor else { return Team.share(blocks, cost: 4 * order) { _ = butterflies($0, target) } }
        if power == 1 {
            var scaled = Tensor(uninitialized: x.shape)
            let elements = scaled.mutablePointer
            Team.share(blocks, cost: 4 * order) { _ = butterflies($0, elements) }
            gemm(
                .asStored, orientation == .asStored ? .transposed : .asStored, m: blocks, n: m, k: m, scaled.pointer, lda: m,
                factor.values.pointer, ldb: m, target, ldc: m)
            return
        }
        let signs = orientation == .asStored ? factor.signs : factor.transposedSigns
        Team.share(blocks, cost: 8 * order) {
            var sums = Tensor(uninitialized: [4 * m * min(power, 32)])
            ck_mix_signs(butterflies($0, target), signs, sums.mutablePointer, $0.count, m, power)
        }
    }
}

extension Tape {
    /// y = H·x/√n, row by row; dx = Hᵀ·dy/√n.
    package func hadamard(_ x: Variable, _ transform: HadamardTransform) -> Variable {
        let dx = x.sink
        return record(transform.applied(to: x.value), from: [x]) { dx.add(transform.inverseApplied(to: $0)) }
    }
}
