internal import CKernels
package import TensorCore

/// U·diag(s)·V for one U and V and many s. The factors are in the form that the product reads, an eighth of their size as
/// floats.
package struct TernarySum: Sendable {
    /// U: see `ck_ternary_tile`.
    private let codes: [UInt8], counts: [UInt8]
    private let v: [Int8]
    private let rows: Int, componentCount: Int, columns: Int

    /// From U `[m, k]` and V `[k, n]`.
    package init(u: Tensor, v: Tensor) {
        (rows, componentCount, columns) = (u.shape[0], v.shape[0], v.shape[1])
        precondition(u.shape == [rows, componentCount], "U \(u.shape) for V \(v.shape)")
        let tiles = (componentCount + Int(CK_TERNARY_TILE) - 1) / Int(CK_TERNARY_TILE)
        var counts = [UInt8](repeating: 0, count: tiles * rows)
        let slack = Int(CK_TERNARY_SLACK)
        codes = [UInt8](unsafeUninitializedCapacity: rows * componentCount + slack) { [rows, componentCount] codes, length in
            guard let start = codes.baseAddress else { return }
            let count = ck_ternary_tile(u.pointer, rows, componentCount, start, &counts)
            (start + count).update(repeating: 0, count: slack)
            length = count + slack
        }
        self.counts = counts
        self.v = [Int8](unsafeUninitializedCapacity: v.count) { bytes, length in
            let source = v.pointer
            for i in 0..<v.count { bytes[i] = source[i] > 0 ? 1 : source[i] < 0 ? -1 : 0 }
            length = v.count
        }
    }

    /// U·diag(s)·V, `[m, n]`: the same bits on every rank and processor, with any number of threads.
    package func product(_ s: Tensor) -> Tensor {
        var result = Tensor(uninitialized: [rows, columns])
        let target = result.mutablePointer
        share(s) { factors, columns in
            ck_ternary_sum(factors, s.pointer, columns.lowerBound, columns.upperBound, target)
        }
        return result
    }

    /// A ← W + ρ, W ← diag(a)·U·diag(s)·V·diag(b), ρ ← A − W.
    package func carryResidual(_ s: Tensor, _ balance: Balance?, weight: inout Tensor, rest: inout Tensor) {
        precondition(weight.shape == [rows, columns] && rest.shape == weight.shape, "\(weight.shape) and \(rest.shape)")
        let (w, rho) = (weight.mutablePointer, rest.mutablePointer)
        share(s) { factors, columns in
            ck_ternary_carry_residual(
                factors, s.pointer, balance?.a, balance?.b, columns.lowerBound, columns.upperBound, w, rho)
        }
    }

    /// Vectors of additions for a block of columns.
    private static let costOfACode = Int(CK_TERNARY_WIDTH) / 16

    /// Divides all columns into runs, and calls `body` for them on all threads.
    private func share(_ s: Tensor, _ body: (UnsafePointer<ck_ternary_tiled>, Range<Int>) -> Void) {
        precondition(s.count == componentCount, "\(s.count) scales for \(componentCount) components")
        let width = Int(CK_TERNARY_WIDTH)
        codes.withUnsafeBufferPointer { codes in
            counts.withUnsafeBufferPointer { counts in
                v.withUnsafeBufferPointer { v in
                    var factors = ck_ternary_tiled(
                        codes: codes.baseAddress, counts: counts.baseAddress, v: v.baseAddress, rows: rows,
                        inner: componentCount, columns: columns)
                    withUnsafePointer(to: &factors) { factors in
                        Team.share((columns + width - 1) / width, cost: codes.count * Self.costOfACode) { blocks in
                            body(factors, blocks.lowerBound * width..<min(columns, blocks.upperBound * width))
                        }
                    }
                }
            }
        }
    }
}
