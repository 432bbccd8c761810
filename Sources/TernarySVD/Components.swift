internal import CKernels
internal import LinearAlgebra
internal import TensorCore

/// The growing factors of Σ_j s_j·u_j·v_jᵀ, one component after another.
struct Components {
    /// Length of each u and of each v.
    let m: Int, n: Int
    /// u_j as rows: `[k, m]`, ternary.
    private(set) var ut: [Float] = []
    /// v_j as rows: `[k, n]`, ternary.
    private(set) var v: [Float] = []
    var s: [Float] = []

    var count: Int { v.count / n }
    var nonzeros: Int { ut.lazy.filter { $0 != 0 }.count + v.lazy.filter { $0 != 0 }.count }

    init(m: Int, n: Int) { (self.m, self.n) = (m, n) }

    /// From U `[m, k]`, s `[k]`, V `[k, n]`.
    init(u: Tensor, s: Tensor, v: Tensor) {
        // Not `rows`: that is 0 for a matrix without columns.
        self.init(m: u.shape[0], n: v.shape[1])
        ut = u.transposed().elements
        self.v = v.elements
        self.s = s.elements
    }

    /// u_j and v_j of each component in bits: which entries are 1, and which are -1.
    var signs: [[UInt64]] {
        func bits(_ vectors: [Float], length: Int) -> (words: [UInt64], stride: Int) {
            let stride = (length + 63) / 64
            var words = [UInt64](repeating: 0, count: count * 2 * stride)
            words.withUnsafeMutableBufferPointer { words in
                guard let target = words.baseAddress else { return }
                ck_ternary_bits(vectors, count, length, target, stride)
            }
            return (words, 2 * stride)
        }
        let (u, v) = (bits(ut, length: m), bits(v, length: n))
        return (0..<count).map { j in
            Array(u.words[j * u.stride..<(j + 1) * u.stride] + v.words[j * v.stride..<(j + 1) * v.stride])
        }
    }

    /// Adds components given as rows; their s is 0 until the next refit.
    mutating func append(u: [Float], v: [Float]) {
        ut += u
        self.v += v
        s += [Float](repeating: 0, count: count - s.count)
    }

    /// U as `[m, k]`.
    var u: Tensor { Tensor(ut, [count, m]).transposed() }

    /// Replaces all left (or all right) vectors, given as the columns of a matrix.
    mutating func replace(left: Bool, columns: UnsafePointer<Float>) {
        if left {
            ut.withUnsafeMutableBufferPointer { [count] in
                if let target = $0.baseAddress { ck_transpose(columns, m, count, target) }
            }
        } else {
            v.withUnsafeMutableBufferPointer { [count] in
                if let target = $0.baseAddress { ck_transpose(columns, n, count, target) }
            }
        }
    }

    /// Keeps the components for which `keep` holds.
    mutating func filter(_ keep: (Int) -> Bool) {
        let kept = (0..<count).filter(keep)
        guard kept.count < count else { return }
        self = selecting(kept)
    }

    /// The components of these indices, in this order.
    func selecting(_ indices: [Int]) -> Components {
        var result = Components(m: m, n: n)
        for j in indices {
            result.ut += ut[j * m..<(j + 1) * m]
            result.v += v[j * n..<(j + 1) * n]
            result.s.append(s[j])
        }
        return result
    }

    /// Whether U and V keep to a sparsity; the left vectors are the rows of V where they are transposed.
    func keep(to sparsity: TernarySparsity, isTransposed: Bool) -> Bool {
        guard sparsity != .none, count > 0 else { return true }
        let (left, right) = (Tensor(ut, [count, m]), Tensor(v, [count, n]))
        return isTransposed
            ? sparsity.holds(left) && sparsity.holds(right.transposed())
            : sparsity.holds(left.transposed()) && sparsity.holds(right)
    }

    /// Whether both vectors of component j have a non-zero.
    func isAlive(_ j: Int) -> Bool {
        ut[j * m..<(j + 1) * m].contains { $0 != 0 } && v[j * n..<(j + 1) * n].contains { $0 != 0 }
    }

    /// W − U·diag(s)·V: additions only.
    func residual(of w: Tensor, _ workspace: Workspace) -> Tensor {
        var result = w.copy()
        let k = count
        guard k > 0 else { return result }
        let (u, rows) = (workspace.take(.coefficients, m * k), workspace.take(.images, k * n))
        ut.withUnsafeBufferPointer { if let ut = $0.baseAddress { ck_transpose(ut, k, m, u) } }
        v.withUnsafeBufferPointer { if let v = $0.baseAddress { rows.update(from: v, count: k * n) } }
        for j in 0..<k { ck_scale(s[j], rows + j * n, n) }
        ck_ternary_accumulate(u, m, k, rows, n, -1, result.mutablePointer)
        return result
    }
}
