internal import COpenBLAS
package import TensorCore

/// The upper triangle of a symmetric positive definite A `[order, order]`, row-major, becomes that of U, A = Uᵀ·U; what is
/// below the diagonal stays. Double precision, order³/3 operations.
///
/// - Throws: ``LAPACKError`` where A is not positive definite, or a value is NaN.
package func factorizeCholesky(_ a: DoubleStorage, order: Int) throws(LAPACKError) {
    precondition(a.count == order * order, "\(a.count) values of a matrix of order \(order)")
    guard order > 0 else { return }
    // Row-major upper is column-major lower.
    let code = LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, CChar(UInt8(ascii: "L")), Int32(order), a.pointer, Int32(order))
    try LAPACKError.check(code, "dpotrf", [order, order], count: order) { a.pointer[$0 * (order + 1)] }
}
