import Testing

@testable import Training

@Suite struct MemorySizeTests {
    @Test(arguments: [("24GiB", 24 << 30), ("1.5GiB", 3 << 29), ("512MiB", 512 << 20), ("1000", 1000), ("2TiB", 2 << 40), ("7KiB", 7 << 10)])
    func `sizes are read`(text: String, bytes: Int) throws {
        let size = try #require(ByteCount(settingText: text))
        #expect(size.bytes == bytes)
        #expect(ByteCount(settingText: size.settingText) == size)
    }

    @Test(arguments: ["", "GiB", "-1GiB", "24GB", "1e30", "1.5", "0x10", "nan", "24 GiB"])
    func `what is no size is refused`(text: String) { #expect(ByteCount(settingText: text) == nil) }

    @Test func `a group's ancestors end at the root`() {
        #expect(AvailableMemory.ancestors(of: "/a/b") == ["", "/a", "/a/b"])
        #expect(AvailableMemory.ancestors(of: "/") == [""])
    }

    @Test func `there is memory on this machine`() { #expect((1 << 20...1 << 50).contains(AvailableMemory.bytes)) }
}
