internal import COpenBLAS
package import TensorCore

/// B ← B·A⁻¹ for B `[rows, order]` and A `[order, order]`, row-major, by LU with partial pivoting in double precision; A's
/// memory is used up.
///
/// (2/3·n³ + 2·rows·n² operations.) Row-major memory read by columns is the transpose, so that Aᵀ·Zᵀ = Bᵀ is what LAPACK
/// solves.
/// - Throws: ``LAPACKError`` if A is singular, or a value is NaN.
package func rightDivide(_ b: DoubleStorage, rows: Int, by a: DoubleStorage, order: Int) throws(LAPACKError) {
    precondition(a.count == order * order && b.count == rows * order, "\(b.count) values over \(a.count)")
    guard rows > 0, order > 0 else { return }
    var pivots = [Int32](repeating: 0, count: order)
    let n = Int32(order)
    let code = LAPACKE_dgesv(LAPACK_COL_MAJOR, n, Int32(rows), a.pointer, n, &pivots, b.pointer, n)
    try LAPACKError.check(code, "dgesv", [order, order])
}
