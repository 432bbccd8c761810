internal import CKernels
package import TensorCore

/// A linear layer's weight in ternary form, packed: W ≈ diag(a)·U·diag(s)·V·diag(b).
package struct TernaryFactors: Sendable {
    /// m×k.
    package let u: PackedTernary
    /// k.
    package let s: [Float]
    /// k×n.
    package let v: PackedTernary
    /// a and b, where the layer was balanced and they were not folded into its neighbors.
    package let balance: Balance?
    /// Tolerance of the decomposition.
    package let tolerance: Float
    /// How the matrix was made from the layer's weight: `linear`, or a convolution's form.
    package let form: String
    /// The sparsity that U and V satisfy.
    package let sparsity: TernarySparsity

    /// - Precondition: the factors satisfy the sparsity, which is not checked here.
    package init(
        u: PackedTernary, s: [Float], v: PackedTernary, balance: Balance? = nil, tolerance: Float, form: String = "linear",
        sparsity: TernarySparsity = .none
    ) {
        precondition(u.columns == s.count && v.rows == s.count, "\(u.rows)×\(u.columns), \(s.count), \(v.rows)×\(v.columns)")
        (self.u, self.s, self.v, self.balance, self.tolerance, self.form) = (u, s, v, balance, tolerance, form)
        self.sparsity = sparsity
    }

    package init(
        _ decomposition: TernaryDecomposition, tolerance: Float, form: String = "linear", sparsity: TernarySparsity = .none
    ) {
        self.init(
            u: PackedTernary(decomposition.u), s: decomposition.s.elements, v: PackedTernary(decomposition.v),
            balance: decomposition.balance, tolerance: tolerance, form: form, sparsity: sparsity)
    }

    /// As tensors.
    ///
    /// - Parameter error: the decomposition's ``TernaryDecomposition/relativeError``, which packed factors do not keep.
    package func decomposition(error: Float) -> TernaryDecomposition {
        TernaryDecomposition(
            u: u.unpacked, s: Tensor(s, [componentCount]), v: v.unpacked, balance: balance, relativeError: error)
    }

    /// Whether all numbers of s, a and b fit into the 16 bits of bfloat16, which a file then uses for them.
    package var hasShortScales: Bool {
        (s + (balance.map { $0.a + $0.b } ?? [])).allSatisfy { $0 == $0.roundedToBFloat16 }
    }

    /// The same factors with s, a and b rounded to bfloat16.
    package var withShortScales: TernaryFactors {
        func short(_ scales: [Float]) -> [Float] { scales.map(\.roundedToBFloat16) }
        return TernaryFactors(
            u: u, s: short(s), v: v, balance: balance.map { Balance(a: short($0.a), b: short($0.b)) }, tolerance: tolerance,
            form: form, sparsity: sparsity)
    }

    package var componentCount: Int { s.count }
    /// Additions per token.
    package var additions: Int { u.nonzeros + v.nonzeros }
    /// Multiplications per token: one per component, and one per row and column where a and b are not folded.
    package var multiplications: Int { componentCount + (balance.map { $0.a.count + $0.b.count } ?? 0) }
    /// Bytes held.
    package var byteCount: Int {
        u.byteCount + v.byteCount + 4 * (componentCount + (balance.map { $0.a.count + $0.b.count } ?? 0))
    }

    /// The matrix the factors stand for, `[m, n]`.
    package func unpacked() -> Tensor {
        let product = TernaryDecomposition.product(u: u.unpacked, s: Tensor(s, [componentCount]), v: v.unpacked)
        return balance?.restored(product) ?? product
    }

    /// y = a∘U(s∘V(b∘x)) for each row of x `[tokens, n]`; `[tokens, m]`.
    ///
    /// Sixteen tokens at a time; the products with U and V are additions directly from the bits.
    package func apply(_ x: Tensor) -> Tensor {
        precondition(x.columns == v.columns, "a layer of \(v.columns) inputs for \(x.shape)")
        let lanes = PackedTernary.lanes
        var result = Tensor(uninitialized: Array(x.shape.dropLast()) + [u.rows])
        let target = result.mutablePointer
        Team.share((x.rows + lanes - 1) / lanes, cost: lanes * (componentCount + additions / 8)) { blocks in
            var input = Tensor(uninitialized: [v.columns, lanes])
            var middle = Tensor(uninitialized: [componentCount, lanes])
            var output = Tensor(uninitialized: [u.rows, lanes])
            for first in blocks.map({ $0 * lanes }) {
                TokenBlock.gather(x, from: first, scale: balance?.b, into: &input)
                v.apply(input.pointer, into: middle.mutablePointer)
                for j in 0..<componentCount { ck_scale(s[j], middle.mutablePointer + j * lanes, lanes) }
                u.apply(middle.pointer, into: output.mutablePointer)
                TokenBlock.scatter(output, scale: balance?.a, into: target, from: first, of: x.rows)
            }
        }
        return result
    }
}

extension TernaryFactors: LinearOperator {
    package var shape: [Int] { [u.rows, v.columns] }

    /// x·Wᵀ from the packed factors, as ``apply(_:)``.
    package func product(_ x: Tensor) -> Tensor { apply(x) }
    package var tensor: Tensor { unpacked() }
}
