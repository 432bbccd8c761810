internal import Glibc
import Synchronization

/// Keeps released buffers, so that a training step after the first asks the system for no memory.
///
/// Small buffers are kept for a request of exactly their size. Large ones are cut from the gaps between others (`FreeList`):
/// memory released by one phase of a step serves the next phase, whatever the sizes, so that a process grows to the memory in
/// use at one time, not to the sum over phases. Call ``trim()`` when less is needed from then on (training, then evaluation).
package final class StoragePool: Sendable {
    package static let shared = StoragePool()

    private struct State: ~Copyable {
        var small: [Int: [UInt]] = [:]
        var large = FreeList()
        var systemAllocations = 0
    }
    private let state = Mutex(State())

    /// Size in bytes from which a buffer counts as large.
    private static let largeBytes = 1 << 16
    /// The fewest bytes requested from the system for large buffers.
    private static let growthBytes = 1 << 22

    package init() {}

    /// How often memory was requested from the system: constant over training steps after the first.
    package var systemAllocations: Int { state.withLock { $0.systemAllocations } }

    /// Returns all unused memory to the system.
    package func trim() {
        state.withLock { state in
            for address in state.small.values.joined() { free(UnsafeMutableRawPointer(bitPattern: address)) }
            state.small.removeAll()
            for range in state.large.removePages(of: Int(sysconf(Int32(_SC_PAGESIZE)))) {
                munmap(UnsafeMutableRawPointer(bitPattern: range.lowerBound), range.count)
            }
        }
    }

    static func roundedBytes(_ bytes: Int) -> Int { max(64, (bytes + 63) & ~63) }

    /// Memory aligned to 64 bytes, with undefined contents.
    ///
    /// - Parameter bytes: a multiple of 64.
    package func allocate(bytes: Int) -> UnsafeMutableRawPointer {
        let address = state.withLock { state -> UInt in
            if bytes < Self.largeBytes {
                if let address = state.small[bytes]?.popLast() { return address }
                state.systemAllocations += 1
                return Self.allocated(bytes)
            }
            if let address = state.large.allocate(bytes) { return address }
            state.systemAllocations += 1
            state.large.free(Self.mapped(max(bytes, Self.growthBytes)))
            return state.large.allocate(bytes)!
        }
        return UnsafeMutableRawPointer(bitPattern: address)!
    }

    /// Takes back memory that ``allocate(bytes:)`` gave, with the same number of bytes.
    package func deallocate(_ pointer: UnsafeMutableRawPointer, bytes: Int) {
        let address = UInt(bitPattern: pointer)
        state.withLock { state in
            if bytes < Self.largeBytes {
                state.small[bytes, default: []].append(address)
            } else {
                state.large.free(address..<address + UInt(bytes))
            }
        }
    }

    private static func allocated(_ bytes: Int) -> UInt {
        var pointer: UnsafeMutableRawPointer?
        let code = posix_memalign(&pointer, 64, bytes)
        precondition(code == 0, "out of memory: \(bytes) bytes for a tensor")
        return UInt(bitPattern: pointer)
    }

    private static func mapped(_ bytes: Int) -> Range<UInt> {
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        let length = (bytes + page - 1) / page * page
        let pointer = mmap(nil, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        precondition(pointer != MAP_FAILED, "out of memory: \(bytes) bytes for a tensor")
        let address = UInt(bitPattern: pointer)
        return address..<address + UInt(length)
    }
}
