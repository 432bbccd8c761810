/// Memory for one tensor, 64-byte aligned, returned to the pool when the last tensor that uses it is freed.
final class Storage: @unchecked Sendable {
    let base: UnsafeMutablePointer<Float>
    private let bytes: Int

    init(count: Int) {
        bytes = StoragePool.roundedBytes(count * MemoryLayout<Float>.stride)
        base = StoragePool.shared.allocate(bytes: bytes).bindMemory(
            to: Float.self, capacity: bytes / MemoryLayout<Float>.stride)
    }

    deinit { StoragePool.shared.deallocate(UnsafeMutableRawPointer(base), bytes: bytes) }
}

/// Bytes that share the pool's memory with tensors, 64-byte aligned: what only kernels read.
package final class ByteStorage: @unchecked Sendable {
    package let count: Int
    package let pointer: UnsafeMutableRawPointer
    private let bytes: Int

    /// Memory from the pool, with undefined contents.
    package init(uninitialized count: Int) {
        self.count = count
        bytes = StoragePool.roundedBytes(count)
        pointer = StoragePool.shared.allocate(bytes: bytes)
    }

    /// The elements' bytes.
    package convenience init(copying elements: [some BitwiseCopyable]) {
        self.init(uninitialized: elements.withUnsafeBytes(\.count))
        elements.withUnsafeBytes { UnsafeMutableRawBufferPointer(start: pointer, count: count).copyMemory(from: $0) }
    }

    deinit { StoragePool.shared.deallocate(pointer, bytes: bytes) }
}

/// Numbers in double precision that share the pool's memory with tensors: for sums and systems as large as a model's matrices.
package final class DoubleStorage: @unchecked Sendable {
    package let count: Int
    package let pointer: UnsafeMutablePointer<Double>
    private let bytes: Int

    /// Numbers that have no defined value yet.
    package init(uninitialized count: Int) {
        self.count = count
        bytes = StoragePool.roundedBytes(count * MemoryLayout<Double>.stride)
        pointer = StoragePool.shared.allocate(bytes: bytes).bindMemory(
            to: Double.self, capacity: bytes / MemoryLayout<Double>.stride)
    }

    /// Memory from the pool, all 0.
    package convenience init(zeros count: Int) {
        self.init(uninitialized: count)
        reset()
    }

    /// `convert` of each element of a tensor, computed by several threads.
    package convenience init(_ tensor: Tensor, _ convert: (Float) -> Double) {
        self.init(uninitialized: tensor.count)
        let (source, target) = (tensor.pointer, pointer)
        Team.shareElements(count) {
            for index in $0 { target[index] = convert(source[index]) }
        }
    }

    deinit { StoragePool.shared.deallocate(UnsafeMutableRawPointer(pointer), bytes: bytes) }

    package var elements: UnsafeMutableBufferPointer<Double> { UnsafeMutableBufferPointer(start: pointer, count: count) }

    /// Sets every element to 0.
    package func reset() { Team.shareElements(count) { (pointer + $0.lowerBound).initialize(repeating: 0, count: $0.count) } }

    /// The elements rounded to float32.
    package var rounded: Tensor {
        var result = Tensor(uninitialized: [count])
        let target = result.mutablePointer
        Team.shareElements(count) { for index in $0 { target[index] = Float(pointer[index]) } }
        return result
    }
}
