#if canImport(Glibc)
    import Glibc
#endif
import Synchronization

/// Memory for one tensor, 64-byte aligned, returned to the pool when the last tensor that uses it is gone.
final class Storage: @unchecked Sendable {
    let base: UnsafeMutablePointer<Float>
    let bytes: Int

    init(count: Int) {
        bytes = StoragePool.roundedBytes(count * MemoryLayout<Float>.stride)
        base = StoragePool.shared.take(bytes: bytes).bindMemory(to: Float.self, capacity: bytes / MemoryLayout<Float>.stride)
    }

    deinit { StoragePool.shared.give(UnsafeMutableRawPointer(base), bytes: bytes) }
}

/// Keeps released buffers by size, so that a training step after the first asks the system for no memory.
///
/// A step's buffers have the same sizes each time; the pool therefore matches sizes exactly and never splits a buffer.
/// Call ``trim()`` between phases with different shapes (training, then evaluation).
package final class StoragePool: Sendable {
    package static let shared = StoragePool()

    /// Counters of the pool since the process began.
    package struct Statistics: Sendable {
        /// Buffers requested from the system: constant over training steps once the first is done.
        package var systemAllocations = 0
        /// Bytes held, in use or waiting.
        package var bytesHeld = 0
        /// Largest value `bytesHeld` has had.
        package var peakBytesHeld = 0
    }

    private struct State: ~Copyable {
        var free: [Int: [UInt]] = [:]
        var statistics = Statistics()
    }
    private let state = Mutex(State())

    package var statistics: Statistics { state.withLock { $0.statistics } }

    /// Gives every waiting buffer back to the system.
    package func trim() {
        state.withLock { state in
            for (bytes, addresses) in state.free {
                for address in addresses { free(UnsafeMutableRawPointer(bitPattern: address)) }
                state.statistics.bytesHeld -= bytes * addresses.count
            }
            state.free.removeAll()
        }
    }

    static func roundedBytes(_ bytes: Int) -> Int { max(64, (bytes + 63) & ~63) }

    fileprivate func take(bytes: Int) -> UnsafeMutableRawPointer {
        let reused = state.withLock { state -> UInt? in
            if let address = state.free[bytes]?.popLast() { return address }
            state.statistics.systemAllocations += 1
            state.statistics.bytesHeld += bytes
            state.statistics.peakBytesHeld = max(state.statistics.peakBytesHeld, state.statistics.bytesHeld)
            return nil
        }
        if let reused { return UnsafeMutableRawPointer(bitPattern: reused)! }
        var pointer: UnsafeMutableRawPointer?
        let code = posix_memalign(&pointer, 64, bytes)
        precondition(code == 0, "out of memory: \(bytes) bytes for a tensor")
        return pointer!
    }

    fileprivate func give(_ pointer: UnsafeMutableRawPointer, bytes: Int) {
        state.withLock { $0.free[bytes, default: []].append(UInt(bitPattern: pointer)) }
    }
}
