package import TensorCore

/// A matrix in a form of its own, whose rows are read in that form for a few tokens and widened to float32 block by
/// block for many.
package protocol RowMatrix: LinearOperator {
    /// y[r] = Σ_c w[r, c]·x[c] for some rows r and one token; y is that of row 0.
    func multiply(_ x: UnsafePointer<Float>, _ rows: Range<Int>, into y: UnsafeMutablePointer<Float>)
    /// Some rows as float32, one after the other.
    func widen(_ rows: Range<Int>, into target: UnsafeMutablePointer<Float>)
    /// x·Wᵀ for many tokens, `[tokens, rows]`.
    func multiplyMany(_ x: Tensor) -> Tensor
}

extension RowMatrix {
    /// x·Wᵀ, `[tokens, rows]`.
    package func product(_ x: Tensor) -> Tensor {
        precondition(x.columns == shape[1], "a matrix \(shape) for \(x.shape)")
        return x.rows <= RowProducts.fewTokens ? RowProducts.multiplyFew(x, [self])[0] : multiplyMany(x)
    }

    /// x·Wᵀ of this and other matrices; of few tokens, threads share the rows of all together.
    package func products(_ x: Tensor, and others: [any LinearOperator]) -> [Tensor] {
        let alike = others.compactMap { $0 as? any RowMatrix }
        guard alike.count == others.count, x.rows <= RowProducts.fewTokens else {
            return [product(x)] + others.map { $0.product(x) }
        }
        return RowProducts.multiplyFew(x, [self] + alike)
    }

    /// All rows as float32.
    package var tensor: Tensor {
        var result = Tensor(uninitialized: shape)
        widenShared(0..<shape[0], into: result.mutablePointer)
        return result
    }

    /// Rows of the matrix as float32, `[indices.count, n]`. - Precondition: there are such rows.
    package func rows(at indices: [Int32]) -> Tensor {
        var result = Tensor(uninitialized: [indices.count, shape[1]])
        let target = result.mutablePointer
        for (place, index) in indices.enumerated() {
            precondition(index >= 0 && index < shape[0], "row \(index) of \(shape)")
            widen(Int(index)..<Int(index) + 1, into: target + place * shape[1])
        }
        return result
    }

    /// ``widen(_:into:)``, the rows shared among threads.
    private func widenShared(_ rows: Range<Int>, into target: UnsafeMutablePointer<Float>) {
        let (first, columns) = (rows.lowerBound, shape[1])
        Team.share(rows.count, cost: columns) {
            widen(first + $0.lowerBound..<first + $0.upperBound, into: target + $0.lowerBound * columns)
        }
    }

    /// By widening.
    package func multiplyMany(_ x: Tensor) -> Tensor { multiplyWidened(x) }

    /// x·Wᵀ with the matrix widened some rows at a time: what stays in the caches until it is multiplied.
    package func multiplyWidened(_ x: Tensor) -> Tensor {
        var result = Tensor(uninitialized: [x.rows, shape[0]])
        let target = result.mutablePointer
        let step = max(1, RowProducts.widenedElements / max(1, shape[1]))
        var some = Tensor(uninitialized: [min(step, shape[0]), shape[1]])
        for first in stride(from: 0, to: shape[0], by: step) {
            let range = first..<min(first + step, shape[0])
            widenShared(range, into: some.mutablePointer)
            multiply(x, some.pointer, range, into: target)
        }
        return result
    }

    /// The columns `range` of y ← x·Wᵀ, of these rows of W as float32.
    package func multiply(
        _ x: Tensor, _ rows: UnsafePointer<Float>, _ range: Range<Int>, into y: UnsafeMutablePointer<Float>
    ) {
        gemm(
            .asStored, .transposed, m: x.rows, n: range.count, k: shape[1], x.pointer, lda: shape[1], rows, ldb: shape[1],
            y + range.lowerBound, ldc: shape[0])
    }
}

private enum RowProducts {
    /// Up to so many tokens are multiplied one by one.
    static let fewTokens = 4
    static let widenedElements = 1 << 18
    /// Below so many elements a further thread costs more than it saves.
    private static let elementsOfAThread = 1 << 14
    /// Rows of a matrix that are multiplied together.
    private static let block = 16

    static func multiplyFew(_ x: Tensor, _ matrices: [any RowMatrix]) -> [Tensor] {
        var results = matrices.map { Tensor(uninitialized: [x.rows, $0.shape[0]]) }
        let targets = results.indices.map { results[$0].mutablePointer }
        var ends: [Int] = []
        for matrix in matrices {
            precondition(x.columns == matrix.shape[1], "a matrix \(matrix.shape) for \(x.shape)")
            ends.append((ends.last ?? 0) + (matrix.shape[0] + block - 1) / block)
        }
        let count = ends.last ?? 0
        Team.share(count, in: min(Team.threads, count * block * x.columns / elementsOfAThread)) { blocks in
            var first = 0
            for ((matrix, y), end) in zip(zip(matrices, targets), ends) {
                let own = blocks.clamped(to: first..<end)
                if !own.isEmpty {
                    let rows = (own.lowerBound - first) * block..<min(matrix.shape[0], (own.upperBound - first) * block)
                    for token in 0..<x.rows {
                        matrix.multiply(x.pointer + token * x.columns, rows, into: y + token * matrix.shape[0])
                    }
                }
                first = end
            }
        }
        return results
    }
}
