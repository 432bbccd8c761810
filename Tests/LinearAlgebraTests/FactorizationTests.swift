import TensorCore
import Testing

@testable import LinearAlgebra

@Suite struct FactorizationTests {
    private func matrix(_ m: Int, _ n: Int, seed: UInt64) -> Tensor {
        var random = RandomStream(seed: seed)
        return Tensor(normal: [m, n], from: &random)
    }

    @Test(arguments: [(7, 5), (5, 7), (6, 6), (1, 4), (33, 12)], [false, true])
    func `singular values are the roots of AᵀA's eigenvalues, and U·σ·Vᵀ is A`(_ shape: (m: Int, n: Int), inDouble: Bool) throws
    {
        let a = matrix(shape.m, shape.n, seed: 31)
        let svd = try inDouble ? SingularValueDecomposition(inDoublePrecision: a) : SingularValueDecomposition(a)
        let p = min(shape.m, shape.n)
        let exact = Oracle(a)
        let gram = shape.m < shape.n ? exact * exact.transposed : exact.transposed * exact
        let expected = gram.eigenvalues.map { max(0, $0).squareRoot() }
        for (value, root) in zip(svd.values, expected) { #expect(abs(Double(value) - root) < 2e-6 * expected[0]) }
        #expect(svd.values.count == p && svd.values == svd.values.sorted(by: >))
        let (u, vt) = (Oracle(svd.u), Oracle(svd.vt))
        #expect(Oracle.distance(u.transposed * u, .identity(p)) < 2e-6)
        #expect(Oracle.distance(vt * vt.transposed, .identity(p)) < 2e-6)
        let scaled = Oracle(p, shape.n) { Double(svd.values[$0]) * vt[$0, $1] }
        #expect(Oracle.distance(u * scaled, exact) < 4e-6 * expected[0])
        #expect(abs(Double(try a.spectralNorm()) - expected[0]) < 2e-6 * expected[0])
    }

    @Test(arguments: [(3, 5), (6, 6), (1, 1), (8, 40)])
    func `rows are made orthonormal one after another, with the sign they had`(_ shape: (p: Int, n: Int)) throws {
        let a = matrix(shape.p, shape.n, seed: 32)
        let q = Oracle(try orthonormalizedRows(a))
        #expect(Oracle.distance(q * q.transposed, .identity(shape.p)) < 1e-6)
        // A = L·Q: L = A·Qᵀ is lower triangular with a positive diagonal.
        let l = Oracle(a) * q.transposed
        for i in 0..<shape.p {
            #expect(l[i, i] > 0)
            for j in i + 1..<max(i + 1, shape.p) { #expect(abs(l[i, j]) < 5e-6) }
        }
    }

    @Test func `a NaN is refused by every factorization`() {
        var a = matrix(4, 4, seed: 33)
        a[1, 2] = .nan
        #expect(throws: LAPACKError.self) { try SingularValueDecomposition(a) }
        #expect(throws: LAPACKError.self) { try SingularValueDecomposition(inDoublePrecision: a) }
        #expect(throws: LAPACKError.self) { try orthonormalizedRows(a) }
        #expect(throws: LAPACKError.self) { try a.spectralNorm() }
    }

    @Test func `subspace iteration finds the leading singular subspace, from below`() throws {
        let (m, n, r) = (30, 20, 3)
        let svd = try SingularValueDecomposition(inDoublePrecision: matrix(m, n, seed: 34))
        // A spectrum with a gap after the third value.
        var scaled = svd.vt
        let values: [Float] = [10, 8, 6] + (3..<n).map { 2 / Float($0) }
        for i in 0..<n { for j in 0..<n { scaled[i, j] *= values[i] } }
        let a = matmul(svd.u, .asStored, scaled, .asStored)
        var random = RandomStream(seed: 35)
        var subspace = try LeadingSubspace(rows: m, dimension: r, from: &random)
        try subspace.iterate(a, times: 6)
        for (found, value) in zip(subspace.values, values) { #expect(abs(found - value) < 1e-4 * value) }
        let q = Oracle(subspace.basis)
        #expect(Oracle.distance(q.transposed * q, .identity(r)) < 5e-6)
        // Its projection keeps the leading left vectors whole.
        let leading = Oracle(m, r) { Double(svd.u[$0, $1]) }
        #expect(Oracle.distance(q * (q.transposed * leading), leading) < 1e-4)
        // One step of another matrix starts from what it has.
        let before = subspace.values
        var nudged = a
        nudged[0, 0] += 0.01
        try subspace.iterate(nudged, times: 1)
        for (old, new) in zip(before, subspace.values) { #expect(abs(old - new) < 0.011) }
    }
}
