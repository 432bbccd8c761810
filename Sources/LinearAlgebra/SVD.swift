internal import COpenBLAS
package import TensorCore

/// The thin singular value decomposition A = U·diag(σ)·Vᵀ with p = min(m, n).
package struct SingularValueDecomposition: Sendable {
    /// Left singular vectors, `[m, p]`.
    package let u: Tensor
    /// Singular values, largest first.
    package let values: [Float]
    /// Right singular vectors as rows, `[p, n]`.
    package let vt: Tensor

    /// Divide and conquer (LAPACK gesdd), O(m·n·p).
    ///
    /// LAPACK is given the transpose, which is what row-major memory is to it: nothing is transposed. It overwrites a copy.
    package init(_ a: Tensor) throws(LAPACKError) {
        let (m, n) = (a.rows, a.columns)
        let p = min(m, n)
        var work = a.copy()
        var (u, vt) = (Tensor(uninitialized: [m, p]), Tensor(uninitialized: [p, n]))
        var values = [Float](repeating: 0, count: p)
        let code = LAPACKE_sgesdd(
            LAPACK_COL_MAJOR, CChar(UInt8(ascii: "S")), Int32(n), Int32(m), work.mutablePointer, Int32(n), &values,
            vt.mutablePointer, Int32(n), u.mutablePointer, Int32(p))
        try LAPACKError.check(code, "sgesdd", [m, n])
        (self.u, self.values, self.vt) = (u, values, vt)
    }

    /// As ``init(_:)``, computed in double precision: for choices that hang on the last digits of a singular vector.
    package init(inDoublePrecision a: Tensor) throws(LAPACKError) {
        let (m, n) = (a.rows, a.columns)
        let p = min(m, n)
        var work = a.elements.map(Double.init)
        var u = [Double](repeating: 0, count: m * p)
        var vt = [Double](repeating: 0, count: p * n)
        var values = [Double](repeating: 0, count: p)
        let code = LAPACKE_dgesdd(
            LAPACK_COL_MAJOR, CChar(UInt8(ascii: "S")), Int32(n), Int32(m), &work, Int32(n), &values, &vt, Int32(n), &u,
            Int32(p))
        try LAPACKError.check(code, "dgesdd", [m, n])
        self.u = Tensor(u.map { Float($0) }, [m, p])
        self.values = values.map { Float($0) }
        self.vt = Tensor(vt.map { Float($0) }, [p, n])
    }
}

extension Tensor {
    /// Largest singular value, from all of them (LAPACK gesdd without vectors): not an estimate.
    package func spectralNorm() throws(LAPACKError) -> Float {
        guard count > 0 else { return 0 }
        let (m, n) = (rows, columns)
        var work = copy()
        var values = [Float](repeating: 0, count: min(m, n))
        let code = LAPACKE_sgesdd(
            LAPACK_COL_MAJOR, CChar(UInt8(ascii: "N")), Int32(n), Int32(m), work.mutablePointer, Int32(n), &values,
            nil, 1, nil, 1)
        try LAPACKError.check(code, "sgesdd", [m, n])
        return values[0]
    }
}
