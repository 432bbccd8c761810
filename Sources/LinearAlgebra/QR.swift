internal import COpenBLAS
package import TensorCore

/// The orthonormal rows Q of A = L·Q, `[p, n]` with p ≤ n, L lower triangular with positive diagonal: A's rows, made
/// orthonormal one after another. Householder reflections in double precision, O(n·p²).
///
/// - Throws: ``LAPACKError`` if a value is NaN.
package func orthonormalizedRows(_ a: Tensor) throws(LAPACKError) -> Tensor {
    let (p, n) = (a.rows, a.columns)
    precondition(p <= n, "\(p) rows of \(n) cannot be orthonormal")
    guard p > 0 else { return a }
    // Row-major A read by columns is Aᵀ, whose QR factors are Qᵀ and Lᵀ.
    var work = a.elements.map(Double.init)
    var tau = [Double](repeating: 0, count: p)
    try LAPACKError.check(LAPACKE_dgeqrf(LAPACK_COL_MAJOR, Int32(n), Int32(p), &work, Int32(n), &tau), "dgeqrf", [n, p])
    let signs = (0..<p).map { work[$0 * n + $0] < 0 ? -1.0 : 1.0 }
    try LAPACKError.check(
        LAPACKE_dorgqr(LAPACK_COL_MAJOR, Int32(n), Int32(p), Int32(p), &work, Int32(n), tau), "dorgqr", [n, p])
    return Tensor(work.indices.map { Float(signs[$0 / n] * work[$0]) }, a.shape)
}
