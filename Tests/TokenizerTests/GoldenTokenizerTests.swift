import Foundation
import HuggingFace
import Support
import TestSupport
import Testing

@Suite struct GoldenTokenizerTests {
    @Test(arguments: GoldenSuite.cases(group: "tokenizer"))
    func `Ids and texts are those of the reference`(golden: GoldenCase) throws {
        let tokenizer = try loadTokenizer(golden)
        let path = try GoldenSuite.path(golden.file)
        let entries = try #require(try InputFile.json(path).array)
        #expect(!entries.isEmpty)
        for entry in entries {
            let text = try #require(entry["text"]?.string)
            let ids = try #require(entry["ids"]?.integers).map(Int32.init)
            let withSpecial = try #require(entry["ids_with_special"]?.integers).map(Int32.init)
            #expect(tokenizer.encode(text, addSpecialTokens: false) == ids, "\(text.debugDescription)")
            #expect(tokenizer.encode(text, addSpecialTokens: true) == withSpecial, "\(text.debugDescription)")
            // Compared byte by byte: Swift takes canonically equivalent strings for equal.
            let decoded = tokenizer.decode(ids, skipSpecialTokens: false)
            let skipped = tokenizer.decode(ids, skipSpecialTokens: true)
            let wanted = try #require(entry["decoded"]?.string)
            let wantedSkipped = try #require(entry["decoded_skip_special"]?.string)
            #expect(UTF8Key(decoded) == UTF8Key(wanted), "\(text.debugDescription)")
            #expect(UTF8Key(skipped) == UTF8Key(wantedSkipped), "\(text.debugDescription)")
        }
    }

    @Test func `The suite has tokenizer cases`() {
        #expect(!GoldenSuite.cases(group: "tokenizer").isEmpty)
    }

    /// The tokenizer a case names, in its own suite or else in the one that comes with the sources.
    private func loadTokenizer(_ golden: GoldenCase) throws -> Tokenizer {
        let named = try #require(golden.params["tokenizer_file"]?.string)
        let name = String(named.prefix { $0 != " " })
        let own = try URL(filePath: GoldenSuite.path(golden.file)).deletingLastPathComponent().appending(path: name).path
        let open = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../Golden/tokenizer/\(name)").path
        let path = FileManager.default.fileExists(atPath: own) ? own : open
        guard path.hasSuffix(".gz") else { return try Tokenizer(contentsOf: path) }
        let folder = try TemporaryFolder()
        let unpacked = folder.file("tokenizer.json")
        try unpack(path).write(to: URL(filePath: unpacked))
        return try Tokenizer(contentsOf: unpacked)
    }

    private func unpack(_ path: String) throws -> Data {
        let process = Process()
        process.executableURL = URL(filePath: "/bin/gzip")
        process.arguments = ["-dc", path]
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let data = try #require(try output.fileHandleForReading.readToEnd())
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        return data
    }
}
