import Collectives
import Glibc
import Support
import TestSupport
import Testing

@testable import Configuration
@testable import Planning

@Suite struct MemorySizeTests {
    @Test(arguments: [
        ("24GiB", 24 << 30), ("1.5GiB", 3 << 29), ("512MiB", 512 << 20), ("1000", 1000), ("2TiB", 2 << 40), ("7KiB", 7 << 10),
    ])
    func `sizes are read`(text: String, bytes: Int) throws {
        let size = try #require(ByteCount(settingText: text))
        #expect(size.bytes == bytes)
        #expect(ByteCount(settingText: size.settingText) == size)
    }

    @Test(arguments: ["", "GiB", "-1GiB", "24GB", "1e30", "1.5", "0x10", "nan", "24 GiB"])
    func `what is no size is refused`(text: String) { #expect(ByteCount(settingText: text) == nil) }

    @Test func `a group's ancestors end at the root`() {
        #expect(ControlGroups.ancestors(of: "/a/b") == ["", "/a", "/a/b"])
        #expect(ControlGroups.ancestors(of: "/") == [""])
    }

    @Test func `files in the cache leave room in a group`() throws {
        let folder = try TemporaryFolder()
        func room(_ files: [String: String]) throws -> Int? {
            for (name, text) in files { try AtomicFile.write(text + "\n", to: folder.file(name)) }
            return GroupFiles.version2.room(folder.path)
        }
        #expect(try room([:]) == nil)
        #expect(try room(["memory.max": "1000"]) == 1000)
        #expect(try room(["memory.current": "900"]) == 100)
        #expect(try room(["memory.stat": "anon 300\nactive_file 200\n\ninactive_file 50\nfile 600"]) == 350)
        #expect(try room(["memory.current": "1300"]) == 0)
        #expect(try room(["memory.max": "max"]) == nil)
        #expect(GroupFiles.version1.room(folder.path) == nil)
    }

    @Test func `there is memory for this test, and no more than the machine has`() {
        let machine = sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE))
        #expect(AvailableMemory.bytes > 16 << 20 && AvailableMemory.bytes <= machine)
    }
}
