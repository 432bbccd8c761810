import Testing

@testable import TensorCore

@Suite struct StoragePoolTests {
    @Test(arguments: [4096, 1 << 20])
    func `a released buffer serves the next request of its size`(bytes: Int) {
        let pool = StoragePool()
        for _ in 0..<5 { pool.deallocate(pool.allocate(bytes: bytes), bytes: bytes) }
        #expect(pool.systemAllocations == 1)
    }

    @Test func `large buffers of one phase serve the next, whatever the sizes`() {
        let pool = StoragePool()
        func phase(_ sizes: [Int]) {
            let buffers = sizes.map { (pool.allocate(bytes: $0), $0) }
            #expect(buffers.allSatisfy { Int(bitPattern: $0.0) % 64 == 0 })
            for (pointer, bytes) in buffers {
                pointer.storeBytes(of: 1, as: UInt8.self)
                pointer.storeBytes(of: 1, toByteOffset: bytes - 1, as: UInt8.self)
            }
            for (pointer, bytes) in buffers.reversed() { pool.deallocate(pointer, bytes: bytes) }
        }
        phase([4 << 20])
        phase([1 << 20, 1 << 20, 1 << 20, 1 << 20])
        phase([3 << 20, 100_032, 600_000 / 64 * 64])
        #expect(pool.systemAllocations == 1)
        pool.trim()
        phase([1 << 16])
        #expect(pool.systemAllocations == 2)
    }

    @Test func `buffers are cut from the smallest gap that holds them, and gaps that meet are one`() {
        var list = FreeList()
        for range: Range<UInt> in [4096..<8192, 16384..<17408, 32768..<65536] { list.free(range) }
        #expect(list.allocate(1024) == 16384)
        #expect(list.allocate(2048) == 4096)
        #expect(list.allocate(1 << 20) == nil)
        #expect(list.ranges == [6144..<8192, 32768..<65536])
        list.free(8192..<32768)
        #expect(list.ranges == [6144..<65536])
        list.free(4096..<6144)
        #expect(list.allocate(61440) == 4096)
        #expect(list.ranges.isEmpty)
    }

    @Test func `whole pages go back to the system, and what is left of them waits`() {
        var list = FreeList()
        for range: Range<UInt> in [4160..<12352, 20480..<20544] { list.free(range) }
        #expect(list.removePages(of: 4096) == [8192..<12288])
        #expect(list.ranges == [4160..<8192, 12288..<12352, 20480..<20544])
    }

    @Test func `buffers in use never overlap`() {
        let pool = StoragePool()
        var random = RandomStream(seed: 3)
        var held: [(pointer: UnsafeMutableRawPointer, bytes: Int)] = []
        for _ in 0..<4000 {
            if held.count > 20 || (!held.isEmpty && random.next() % 2 == 0) {
                let buffer = held.remove(at: Int(random.next() % UInt64(held.count)))
                pool.deallocate(buffer.pointer, bytes: buffer.bytes)
            } else {
                let bytes = 64 * Int(1 + random.next() % 8192)
                held.append((pool.allocate(bytes: bytes), bytes))
            }
            let starts = held.map { UInt(bitPattern: $0.pointer) }.enumerated().sorted { $0.element < $1.element }
            for (a, b) in zip(starts, starts.dropFirst()) { #expect(a.element + UInt(held[a.offset].bytes) <= b.element) }
        }
    }
}
