/// Pointers into a tensor, for the kernels. A pointer is valid while the variable that holds the tensor is in scope
/// (Swift keeps a variable alive across calls it cannot see into, and every kernel is one).
extension Tensor {
    /// The elements, row-major.
    package var pointer: UnsafePointer<Float> { UnsafePointer(storage.base) }

    /// The elements, writable; copies first if another tensor shares them.
    package var mutablePointer: UnsafeMutablePointer<Float> {
        mutating get {
            makeUnique()
            return storage.base
        }
    }

    /// The elements in row-major order, valid within `body`.
    package func withElements<Result, Failure>(
        _ body: (UnsafeBufferPointer<Float>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(UnsafeBufferPointer(start: storage.base, count: count))
    }

    /// The elements to be changed, in memory of the tensor's own, valid within `body`.
    package mutating func withMutableElements<Result, Failure>(
        _ body: (UnsafeMutableBufferPointer<Float>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(UnsafeMutableBufferPointer(start: mutablePointer, count: count))
    }

    mutating func makeUnique() {
        guard !isKnownUniquelyReferenced(&storage) else { return }
        let fresh = Storage(count: count)
        fresh.base.update(from: storage.base, count: count)
        storage = fresh
    }
}
