internal import COpenBLAS
package import TensorCore

/// The leading left singular subspace of a matrix that changes a little at a time.
///
/// Block subspace iteration (Halko, Martinsson, Tropp 2011, algorithm 4.4) started from the basis of the call before.
package struct LeadingSubspace: Sendable {
    /// Orthonormal columns, `[m, r]`, ordered by singular value after ``iterate(_:times:)``.
    package private(set) var basis: Tensor
    /// The Ritz estimates of the singular values: lower bounds, largest first.
    package private(set) var values: [Float] = []

    /// A random start. - Precondition: r ≤ m.
    package init(rows m: Int, dimension r: Int, from random: inout RandomStream) throws(LAPACKError) {
        precondition(r >= 1 && r <= m, "a subspace of dimension \(r) in \(m) dimensions")
        basis = Tensor(normal: [m, r], from: &random)
        try orthonormalize()
    }

    /// Q ← orth(A·(Aᵀ·Q)), `times` over, then rotates Q to the Ritz vectors. 4·m·n·r operations a time.
    package mutating func iterate(_ a: Tensor, times: Int) throws(LAPACKError) {
        let (n, r) = (a.columns, basis.columns)
        precondition(a.rows == basis.rows, "subspace of \(basis.shape) for a matrix of \(a.shape)")
        var small = Tensor(uninitialized: [n, r])
        for _ in 0..<times {
            matmul(a, .transposed, basis, .asStored, into: &small)
            matmul(a, .asStored, small, .asStored, into: &basis)
            try orthonormalize()
        }
        // Rayleigh-Ritz: the small matrix Aᵀ·Q (n×r) has Q's share of A's singular values.
        matmul(a, .transposed, basis, .asStored, into: &small)
        let svd = try SingularValueDecomposition(small)
        basis = matmul(basis, .asStored, svd.vt, .transposed)
        values = svd.values
    }

    private mutating func orthonormalize() throws(LAPACKError) {
        let (m, r) = (basis.rows, basis.columns)
        let largest = basis.maxMagnitude
        // Powers of a tiny or huge residual leave float32's range after a few steps otherwise.
        if largest > 0, largest.isFinite { basis.scale(by: 1 / largest) }
        var tau = [Float](repeating: 0, count: r)
        // LAPACK factors columns; the transpose puts basis vectors where it looks for them.
        var columns = basis.transposed()
        let pointer = columns.mutablePointer
        try LAPACKError.check(
            LAPACKE_sgeqrf(LAPACK_COL_MAJOR, Int32(m), Int32(r), pointer, Int32(m), &tau), "sgeqrf", [m, r])
        try LAPACKError.check(
            LAPACKE_sorgqr(LAPACK_COL_MAJOR, Int32(m), Int32(r), Int32(r), pointer, Int32(m), &tau), "sorgqr", [m, r])
        basis = columns.transposed()
    }
}
