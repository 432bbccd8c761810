package import TensorCore

/// Several tensors summed over ranks in one reduction: a message has a fixed cost, so one large is faster than many small.
///
/// The tensors are copied into a buffer allocated once, reduced, and copied back; after `init` nothing is allocated.
package final class PackedAllReduce {
    private let counts: [Int]
    private var buffer: Tensor
    /// Reductions done so far.
    package private(set) var reductions = 0

    /// - Parameter counts: elements of each tensor, in the order they will be given.
    package init(counts: [Int]) {
        self.counts = counts
        buffer = Tensor(uninitialized: [counts.reduce(0, +)])
    }

    package convenience init(matching tensors: [Tensor]) { self.init(counts: tensors.map(\.count)) }

    /// Bytes this rank sends per reduction; nothing in a world of one.
    package func bytesPerReduction(over communicator: some Communicator) -> Int {
        communicator.size > 1 ? buffer.count * MemoryLayout<Float>.stride : 0
    }

    /// tensors[i] ← Σ over ranks of tensors[i].
    package func sum(_ tensors: inout [Tensor], over communicator: some Communicator) throws(MPIError) {
        precondition(tensors.map(\.count) == counts, "the tensors differ from those the buffer was made for")
        reductions += 1
        guard communicator.size > 1 else { return }
        var offset = 0
        let packed = buffer.mutablePointer
        for tensor in tensors {
            (packed + offset).update(from: tensor.pointer, count: tensor.count)
            offset += tensor.count
        }
        try communicator.allReduceSum(&buffer)
        offset = 0
        for i in tensors.indices {
            tensors[i].mutablePointer.update(from: buffer.pointer + offset, count: counts[i])
            offset += counts[i]
        }
    }
}
