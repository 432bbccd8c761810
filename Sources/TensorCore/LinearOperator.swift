/// A matrix W [m, n] in a form of its own (integers of a few bits, ternary factors) that products are made with directly.
package protocol LinearOperator: Sendable {
    /// `[m, n]`.
    var shape: [Int] { get }
    /// x·Wᵀ for x `[rows, n]`: `[rows, m]`.
    func product(_ x: Tensor) -> Tensor
    /// The products of this and of others that read the same x: what x is made into first may be made once.
    func products(_ x: Tensor, and others: [any LinearOperator]) -> [Tensor]
    /// W itself, in float32.
    var tensor: Tensor { get }
    /// Some of its rows: `[indices.count, n]`.
    func rows(at indices: [Int32]) -> Tensor
    /// Bytes held, which a product with one token reads.
    var byteCount: Int { get }
    /// Whether the matrix is in memory; else it is read each time it is asked for.
    var isResident: Bool { get }
}

extension LinearOperator {
    package var isResident: Bool { true }

    /// A product with each matrix, which share nothing.
    package func products(_ x: Tensor, and others: [any LinearOperator]) -> [Tensor] {
        [product(x)] + others.map { $0.product(x) }
    }

    /// Those rows of ``tensor``, which is made whole for it.
    package func rows(at indices: [Int32]) -> Tensor { StoredTensor(tensor).rows(at: indices) }
}
