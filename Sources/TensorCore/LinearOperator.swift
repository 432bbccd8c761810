/// A matrix W `[m, n]` that is stored in a form of its own (integers of a few bits, ternary factors, floats in a file), with
/// products computed directly from that form.
package protocol LinearOperator: Sendable {
    /// `[m, n]`.
    var shape: [Int] { get }
    /// x·Wᵀ for x `[rows, n]`: `[rows, m]`.
    func product(_ x: Tensor) -> Tensor
    /// The products of x with this matrix and with `others`, in this order. What all of them compute from x first, such as its
    /// rounding, may be computed once.
    func products(_ x: Tensor, and others: [any LinearOperator]) -> [Tensor]
    /// W in float32, `[m, n]`.
    var tensor: Tensor { get }
    /// Some of its rows: `[indices.count, n]`.
    func rows(at indices: [Int32]) -> Tensor
    /// Bytes of the form, all of which a product with one token reads.
    var byteCount: Int { get }
    /// Whether the matrix is in memory; if not, it is read from its file at each use.
    var isResident: Bool { get }
}

extension LinearOperator {
    package var isResident: Bool { true }

    /// One product after the other, with nothing shared.
    package func products(_ x: Tensor, and others: [any LinearOperator]) -> [Tensor] {
        [product(x)] + others.map { $0.product(x) }
    }

    /// Rows of ``tensor``, all of which is computed for them.
    package func rows(at indices: [Int32]) -> Tensor { StoredTensor(tensor).rows(at: indices) }
}
