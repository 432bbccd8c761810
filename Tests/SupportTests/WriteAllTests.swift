import Glibc
import Testing

@testable import Support

@Suite struct WriteAllTests {
    /// As standard output is that a program before this one, or beside it, has told not to wait.
    @Test func `a pipe that is full and does not wait gets every byte`() throws {
        var ends: [Int32] = [-1, -1]
        #expect(pipe(&ends) == 0)
        let (reading, writing) = (ends[0], ends[1])
        _ = fcntl(writing, F_SETFL, O_NONBLOCK)
        nonisolated(unsafe) var received: [UInt8] = []
        let reader = try SystemThread.start {
            var buffer = [UInt8](repeating: 0, count: 1 << 16)
            usleep(100_000)
            while true {
                let count = read(reading, &buffer, buffer.count)
                if count <= 0 { return }
                received += buffer.prefix(count)
            }
        }
        let bytes = (0..<1 << 19).map { UInt8(truncatingIfNeeded: $0 / 7) }
        #expect(writeAll(bytes, to: writing) == 0)
        close(writing)
        pthread_join(reader, nil)
        close(reading)
        #expect(received == bytes)
    }
}
