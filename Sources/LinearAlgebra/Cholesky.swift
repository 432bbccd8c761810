internal import COpenBLAS
package import TensorCore

/// The factor L of a symmetric positive definite matrix A = L·Lᵀ that can grow by rows: O(k²·r) for r new rows.
///
/// The right-hand side grows with it: y = L⁻¹·x is kept, so that a solution costs one back substitution, k².
package struct CholeskyFactor: Sendable {
    /// Rows of the matrix so far.
    package private(set) var order = 0
    private var capacity: Int
    /// L in its lower triangle, `[capacity, capacity]`.
    private var factor: Tensor
    /// L⁻¹·x.
    private var forward: [Float] = []

    package init(capacity: Int = 64) {
        self.capacity = max(1, capacity)
        factor = Tensor(uninitialized: [self.capacity, self.capacity])
    }

    /// Forgets all rows, keeps the memory.
    package mutating func reset() {
        order = 0
        forward.removeAll(keepingCapacity: true)
    }

    /// Adds rows `order..<order + count` of the matrix and of the right-hand side.
    ///
    /// - Parameter fill: writes row `order + i` of the matrix, up to its diagonal, at the pointer it is given plus `i` times
    ///   the distance it is given.
    /// - Throws: `LAPACKError` where the matrix is not positive definite, or a value is NaN; the factor is then as before.
    package mutating func append(
        count: Int, diagonal: Float, rightHandSide: [Float], fill: (UnsafeMutablePointer<Float>, Int) -> Void
    ) throws(LAPACKError) {
        precondition(rightHandSide.count == count, "\(rightHandSide.count) right-hand sides for \(count) rows")
        reserve(order + count)
        let (k, ld) = (order, capacity)
        let l = factor.mutablePointer
        let (left, corner) = (l + k * ld, l + k * ld + k)
        fill(left, ld)
        for i in 0..<count { corner[i * ld + i] += diagonal }
        if k > 0 {
            // L21·L11ᵀ = A21, then the corner's remainder A22 − L21·L21ᵀ.
            cblas_strsm(
                CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, Int32(count), Int32(k), 1, l, Int32(ld), left,
                Int32(ld))
            cblas_ssyrk(
                CblasRowMajor, CblasLower, CblasNoTrans, Int32(count), Int32(k), -1, left, Int32(ld), 1, corner, Int32(ld))
        }
        // Row-major lower is column-major upper.
        let code = LAPACKE_spotrf_work(LAPACK_COL_MAJOR, CChar(UInt8(ascii: "U")), Int32(count), corner, Int32(ld))
        try LAPACKError.check(code, "spotrf", [k + count, k + count], count: count) { corner[$0 * (ld + 1)] }
        var y = rightHandSide
        if k > 0 {
            cblas_sgemv(CblasRowMajor, CblasNoTrans, Int32(count), Int32(k), -1, left, Int32(ld), forward, 1, 1, &y, 1)
        }
        cblas_strsv(CblasRowMajor, CblasLower, CblasNoTrans, CblasNonUnit, Int32(count), corner, Int32(ld), &y, 1)
        forward += y
        order += count
    }

    /// A⁻¹·x.
    package func solution() -> [Float] { substitutedBack(forward) }

    /// A⁻¹·x for another right-hand side, with the bits that it would have had from the beginning.
    ///
    /// - Precondition: all rows were added at once.
    package func solution(_ rightHandSide: [Float]) -> [Float] {
        precondition(rightHandSide.count == order, "\(rightHandSide.count) right-hand sides for \(order) rows")
        var y = rightHandSide
        guard order > 0 else { return y }
        cblas_strsv(
            CblasRowMajor, CblasLower, CblasNoTrans, CblasNonUnit, Int32(order), factor.pointer, Int32(capacity), &y, 1)
        return substitutedBack(y)
    }

    /// Values held.
    package var count: Int { capacity * capacity }

    /// (Lᵀ)⁻¹·y.
    private func substitutedBack(_ y: [Float]) -> [Float] {
        var result = y
        guard order > 0 else { return result }
        cblas_strsv(
            CblasRowMajor, CblasLower, CblasTrans, CblasNonUnit, Int32(order), factor.pointer, Int32(capacity), &result, 1)
        return result
    }

    private mutating func reserve(_ rows: Int) {
        guard rows > capacity else { return }
        let grown = max(rows, capacity + capacity / 2)
        var larger = Tensor(uninitialized: [grown, grown])
        let (target, source) = (larger.mutablePointer, factor.pointer)
        for i in 0..<order { (target + i * grown).update(from: source + i * capacity, count: i + 1) }
        (factor, capacity) = (larger, grown)
    }
}

/// Solves (A + λI)·s = x in double precision; `a` holds A's lower triangle, row-major k×k, and is overwritten.
///
/// - Throws: `LAPACKError` where the matrix is not positive definite, or a value is NaN.
package func solvePositiveDefinite(_ a: inout [Double], diagonal: Double, _ x: [Double]) throws(LAPACKError) -> [Double] {
    let k = x.count
    precondition(a.count == k * k, "\(a.count) elements for a \(k)×\(k) matrix")
    guard k > 0 else { return [] }
    for i in 0..<k { a[i * k + i] += diagonal }
    var result = x
    let code = LAPACKE_dposv_work(LAPACK_COL_MAJOR, CChar(UInt8(ascii: "U")), Int32(k), 1, &a, Int32(k), &result, Int32(k))
    try LAPACKError.check(code, "dposv", [k, k], count: k) { result[$0] }
    return result
}

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
