package import TensorCore

/// result ← α·op(A)·op(B) + β·result. Axes before the last are rows: a `[batch, tokens, h]` tensor is a (batch·tokens)×h
/// matrix.
///
/// - Parameter precision: of what is multiplied.
/// - Precondition: the shapes fit.
package func matmul(
    _ a: Tensor, _ opA: Orientation = .asStored, _ b: Tensor, _ opB: Orientation = .asStored,
    alpha: Float = 1, beta: Float = 0, in precision: ProductPrecision = .float32, into result: inout Tensor
) {
    let (m, k) = opA == .asStored ? (a.rows, a.columns) : (a.columns, a.rows)
    let (kB, n) = opB == .asStored ? (b.rows, b.columns) : (b.columns, b.rows)
    precondition(k == kB && result.rows == m && result.columns == n, "matmul \(a.shape) \(b.shape) -> \(result.shape)")
    gemm(
        opA, opB, m: m, n: n, k: k, alpha: alpha, a.pointer, lda: a.columns, b.pointer, ldb: b.columns,
        beta: beta, result.mutablePointer, ldc: n, in: precision)
}

/// op(A)·op(B) as a new m×n tensor.
package func matmul(_ a: Tensor, _ opA: Orientation = .asStored, _ b: Tensor, _ opB: Orientation = .asStored) -> Tensor {
    let m = opA == .asStored ? a.rows : a.columns
    let n = opB == .asStored ? b.columns : b.rows
    var result = Tensor(uninitialized: [m, n])
    matmul(a, opA, b, opB, into: &result)
    return result
}
