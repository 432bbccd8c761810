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

    /// Keeps the components for which `keep` is true; returns whether any were dropped.
    @discardableResult
    mutating func filter(_ keep: (Int) -> Bool) -> Bool {
        let kept = (0..<count).filter(keep)
        guard kept.count < count else { return false }
        self = selecting(kept)
        return true
    }

    /// Drops the components after the last one that has entries in both vectors, and groups of neighbors that are all empty.
    /// Sets other components without entries in one vector to zero. Returns whether anything has changed.
    mutating func dropEmpty(neighbors: Int) -> Bool {
        let alive = (0..<count).map(isAlive)
        var cleared = false
        for j in alive.indices where !alive[j] {
            guard ut[j * m..<(j + 1) * m].contains(where: { $0 != 0 }) || v[j * n..<(j + 1) * n].contains(where: { $0 != 0 })
            else { continue }
            ut.replaceSubrange(j * m..<(j + 1) * m, with: repeatElement(0, count: m))
            v.replaceSubrange(j * n..<(j + 1) * n, with: repeatElement(0, count: n))
            s[j] = 0
            cleared = true
        }
        let end = (alive.lastIndex(of: true) ?? -1) + 1
        let dropped = filter { j in
            let first = j / neighbors * neighbors
            return j < end && alive[first..<min(end, first + neighbors)].contains(true)
        }
        return dropped || cleared
    }

    /// The squared error that a non-zero of the last components removes: Σs²·|u|₀·|v|₀/Σ(|u|₀ + |v|₀).
    func squaresPerNonzero(ofLast number: Int) -> Float {
        var (removed, nonzeros) = (0.0, 0)
        for j in max(0, count - number)..<count {
            let (left, right) = (ut[j * m..<(j + 1) * m].count { $0 != 0 }, v[j * n..<(j + 1) * n].count { $0 != 0 })
            removed += Double(s[j]) * Double(s[j]) * Double(left * right)
            nonzeros += left + right
        }
        return Float(removed / Double(max(1, nonzeros)))
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

    /// Whether U and V satisfy a sparsity; if transposed, the left vectors are the rows of V.
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
