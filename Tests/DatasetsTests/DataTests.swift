import HuggingFace
import Support
import TestSupport
import Testing

@testable import Configuration
@testable import Datasets

/// Files of a temporary folder, read with a tokenizer of one token per letter.
private struct DataFixture {
    let folder: TemporaryFolder
    let tokenizer: Tokenizer

    /// a = 0, b = 1, …, e = 4, the end of a text = 5.
    init(eos: Bool = true) throws {
        folder = try TemporaryFolder()
        try AtomicFile.write(
            """
            {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4, "</s>": 5}, "merges": []},
             "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false}}
            """, to: folder.file("tokenizer.json"))
        try AtomicFile.write(eos ? #"{"eos_token": "</s>"}"# : "{}", to: folder.file("tokenizer_config.json"))
        tokenizer = try Tokenizer(folder: folder.path)
    }

    func read(
        _ name: String, _ content: some Collection<UInt8>, lines: JSONLines = JSONLines(), vocabularySize: Int = 6
    ) throws -> TokenSource {
        try AtomicFile.write(content, to: folder.file(name))
        return try TokenSource(contentsOf: folder.file(name), lines: lines, vocabularySize: vocabularySize) { tokenizer }
    }
}

/// A safetensors file of one tensor of integers.
private func safetensors<Element: FixedWidthInteger>(_ type: String, _ shape: [Int], _ values: [Element]) -> [UInt8] {
    let data = values.flatMap { value in withUnsafeBytes(of: value.littleEndian) { Array($0) } }
    let header = #"{"input_ids":{"dtype":"\#(type)","shape":\#(shape),"data_offsets":[0,\#(data.count)]}}"#
    let length = withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { Array($0) }
    return length + header.utf8 + data
}

@Suite struct TokenSourceTests {
    @Test(arguments: ["jsonl", "safetensors"]) func `damaged texts are tokens or refused`(type: String) throws {
        let fixture = try DataFixture()
        let tokens = safetensors("I64", [2, 3], [0, 1, 2, 3, 4, 5] as [Int64])
        let lines = Array(#"{"text": "abc"}"#.utf8 + [10] + #"{"id": 1, "text": "d\u0065a"}"#.utf8)
        let mutations = Mutations(seed: 88, among: 2)
        let path = fixture.folder.file("mutant.\(type)")
        let refused = try mutations.refusals(of: type == "jsonl" ? lines : tokens, at: path) { path in
            _ = try TokenSource(contentsOf: path, lines: JSONLines(), vocabularySize: 6) { fixture.tokenizer }
        }
        #expect(refused > mutations.count / 8)
    }

    @Test func `A text file is one document, without special tokens`() throws {
        let source = try DataFixture().read("a.txt", "abcde".utf8)
        #expect(source.tokens == [0, 1, 2, 3, 4])
        #expect(source.documents == [0..<5])
    }

    @Test func `Documents of JSON lines are joined by the end-of-text token, if there is one`() throws {
        let lines = "{\"text\": \"ab\"}\n\n{\"text\": \"\"}\r\n{\"id\": 1, \"text\": \"c\"}\n"
        #expect(try DataFixture().read("a.jsonl", lines.utf8).tokens == [0, 1, 5, 2])
        #expect(try DataFixture(eos: false).read("a.jsonl", lines.utf8).tokens == [0, 1, 2])
    }

    @Test func `Rows of input_ids are documents of their own, whether 32 or 64 bits wide`() throws {
        let fixture = try DataFixture()
        for bytes in [
            safetensors("I32", [2, 3], [0, 1, 2, 3, 4, 5] as [Int32]),
            safetensors("I64", [2, 3], [0, 1, 2, 3, 4, 5] as [Int64]),
        ] {
            let source = try fixture.read("a.safetensors", bytes)
            #expect(source.tokens == [0, 1, 2, 3, 4, 5])
            #expect(source.documents == [0..<3, 3..<6])
        }
    }

    @Test(arguments: [
        ("a.txt", Array("".utf8), "contains no text"),
        ("a.jsonl", Array("{\"text\": \"\"}\n".utf8), "contains no text"),
        ("a.txt", [0x61, 0xFF], "is not UTF-8"),
        ("a.jsonl", Array("{\"text\": \"a\"}\n{\"text\": 1}".utf8), "line 2: is not an object with a string \"text\""),
        ("a.jsonl", Array("{\"text\": \"a\"}\n\n{\"text\": \"a\"".utf8), "line 3: byte 12"),
        ("a.jsonl", [0x22, 0xFF, 0x22], "line 1: byte"),
        ("a.jsonl", Array(#"{"a\nb": 1, "a\nb": 2}"#.utf8), #"line 1: byte 12: key "a\u{a}b" occurs twice"#),
        ("a.csv", Array("a".utf8), "ending is not"),
        ("a.txt", Array("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n".utf8), "is a Git LFS pointer"),
        ("a.jsonl", Array("version https://git-lfs.github.com/spec/v1\n".utf8), "is a Git LFS pointer"),
        ("a.txt", Array("\n<!DOCTYPE html><html>".utf8), "is an HTML page"),
        ("a.jsonl", Array("<HTML>".utf8), "is an HTML page"),
        ("a.txt", [0xFF, 0xFE, 0x61, 0], "is UTF-16, not UTF-8"),
        ("a.jsonl", [0xFE, 0xFF, 0, 0x61], "is UTF-16, not UTF-8"),
        ("a.txt", [0xFF, 0xFE, 0, 0, 0x61, 0, 0, 0], "is UTF-32, not UTF-8"),
        ("a.txt", [0x61, 0, 0x62, 0], "is UTF-16, not UTF-8"),
        ("a.txt", [0x1F, 0x8B, 8], "is a gzip file"),
        ("a.txt", [0xEF, 0xBB, 0xBF], "contains no text"),
        ("a.txt", Array("abxyz".utf8), "3 of 5 bytes of the text have no token"),
        ("a.txt", Array("xyz".utf8), "3 of 3 bytes of the text have no token"),
        ("a.jsonl", Array(#"{"content": "a", "n": 1}"#.utf8), #"data.field can name one of its texts: "content""#),
        ("a.safetensors", safetensors("I32", [1, 2], [0, 6] as [Int32]), "token 6 at position 1 is outside"),
        ("a.safetensors", safetensors("I64", [1, 2], [0, 1 << 32] as [Int64]), "4294967296 at position 1 is not a token"),
        ("a.safetensors", safetensors("I32", [1, 2], [-1, 0] as [Int32]), "-1 at position 0 is not a token"),
        ("a.safetensors", safetensors("I32", [2], [0, 1] as [Int32]), "has shape [2]"),
        ("a.safetensors", safetensors("U8", [1, 2], [0, 1] as [UInt8]), "has type U8"),
        ("a.safetensors", safetensors("I32", [0, 4], [] as [Int32]), "has shape [0, 4], which holds no token"),
        ("a.safetensors", safetensors("I32", [4, 0], [] as [Int32]), "has shape [4, 0], which holds no token"),
    ])
    func `Data that cannot be used is refused in one line`(name: String, content: [UInt8], message: String) throws {
        let fixture = try DataFixture()
        let error = try #require(throws: DataError.self) { try fixture.read(name, content) }
        #expect(error.exitCode == .data)
        #expect(error.description.contains(message), "\(error)")
        #expect(!error.description.contains("\n"))
    }

    @Test func `The case of an ending does not matter`() throws {
        #expect(try DataFixture().read("A.TXT", "ab".utf8).tokens == [0, 1])
        #expect(try DataFixture().read("a.JsonL", #"{"text": "ab"}"#.utf8).tokens == [0, 1])
        #expect(try DataFixture().read("a.SAFETENSORS", safetensors("I32", [1, 2], [0, 1] as [Int32])).tokens == [0, 1])
    }

    @Test func `A byte-order mark is no text`() throws {
        #expect(try DataFixture().read("a.txt", "\u{FEFF}ab".utf8).tokens == [0, 1])
        #expect(try DataFixture().read("a.jsonl", "\u{FEFF}{\"text\": \"ab\"}".utf8).tokens == [0, 1])
    }

    @Test func `The field of JSON lines can be named`() throws {
        let lines = "{\"content\": \"ab\", \"text\": \"c\"}\n"
        #expect(try DataFixture().read("a.jsonl", lines.utf8, lines: JSONLines(field: "content")).tokens == [0, 1])
    }

    @Test func `Bad lines are skipped and counted where that is asked for`() throws {
        let lines = "{\"text\": \"ab\"}\n{\"text\"\n\n[1]\n{\"text\": null}\n{\"text\": \"c\"}\n"
        let fixture = try DataFixture()
        let source = try fixture.read("a.jsonl", lines.utf8, lines: JSONLines(badLines: .skip))
        #expect(source.tokens == [0, 1, 5, 2])
        #expect(source.skippedLines == 3)
        #expect(source.firstSkipped?.hasPrefix("line 2: byte") == true)
        let error = try #require(throws: DataError.self) { try fixture.read("a.jsonl", lines.utf8) }
        #expect(error.description.contains("a.jsonl: line 2: byte"))
        let none = try #require(throws: DataError.self) {
            try fixture.read("b.jsonl", "1\n2\n".utf8, lines: JSONLines(badLines: .skip))
        }
        #expect(none.description.contains("contains no text; 2 lines skipped, the first of them line 1"))
    }

    @Test func `Bytes without a token are counted`() throws {
        let source = try DataFixture().read("a.txt", "abc\u{E9}".utf8)
        #expect(source.tokens == [0, 1, 2])
        #expect(source.lost == LostText(dropped: 2))
        #expect(source.textBytes == 5)
    }

    @Test func `The digest is that of the file`() throws {
        #expect(
            try DataFixture().read("a.txt", "abc".utf8).sha256
                == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    }

    @Test func `A tokenizer with more tokens than the model is found out`() throws {
        let fixture = try DataFixture()
        #expect(throws: DataError.tokenOutside(path: fixture.folder.file("a.txt"), position: 2, token: 4, vocabularySize: 4)) {
            try fixture.read("a.txt", "abe".utf8, vocabularySize: 4)
        }
    }

    @Test(arguments: ["none.txt", "none.safetensors", "wikitext"])
    func `A missing file ends with 66, whatever its ending`(name: String) throws {
        let fixture = try DataFixture()
        let error = try #require(throws: FileError.self) {
            try TokenSource(contentsOf: fixture.folder.file(name), vocabularySize: 6) { fixture.tokenizer }
        }
        #expect(error.exitCode == .noInput)
    }
}

@Suite struct WindowTests {
    private let source = TokenSource(tokens: Array(0..<10), name: "ten")

    @Test func `Windows follow one another and the rest is left out`() throws {
        let windows = try Windows(source, length: 4, maximum: 8)
        #expect((0..<windows.count).map { windows[$0] } == [[0, 1, 2, 3], [4, 5, 6, 7]])
        #expect(try Windows(source, length: 4, maximum: 8, limit: 1).count == 1)
    }

    @Test func `The begin token takes a place in the window and none of the text`() throws {
        let windows = try Windows(source, length: 4, maximum: 8, bos: .sequence, bosToken: 99)
        #expect((0..<windows.count).map { windows[$0] } == [[99, 0, 1, 2], [99, 3, 4, 5], [99, 6, 7, 8]])
    }

    @Test func `A begin token that is there already is not put in front again`() throws {
        let fixture = try DataFixture()
        let rows = try fixture.read(
            "a.safetensors", safetensors("I32", [3, 4], [5, 0, 1, 2, 0, 1, 2, 3, 5, 5, 3, 4] as [Int32]))
        let windows = try Windows(rows, length: 3, maximum: 8, bos: .sequence, bosToken: 5)
        #expect((0..<windows.count).map { windows[$0] } == [[5, 0, 1], [5, 0, 1], [5, 2, 3], [5, 3, 4]])
        #expect(windows.begunAlready == 2)
        let stream = TokenSource(tokens: [5, 0, 1, 5, 2, 3, 5, 4, 0], name: "documents")
        let cut = try Windows(stream, length: 3, maximum: 8, bos: .sequence, bosToken: 5)
        #expect((0..<cut.count).map { cut[$0] } == [[5, 0, 1], [5, 2, 3], [5, 4, 0]])
        // Without the setting the data is taken as it is.
        let plain = try Windows(rows, length: 4, maximum: 8)
        #expect(plain[0] == [5, 0, 1, 2] && plain.begunAlready == 0)
    }

    @Test func `The digest tells windows of other tokens, lengths and numbers apart`() throws {
        func digest(_ tokens: [Int32], _ length: Int, limit: Int = .max) throws -> String {
            try Windows(TokenSource(tokens: tokens, name: "t"), length: length, maximum: 8, limit: limit).digest()
        }
        let first = try digest([0, 1, 2, 3, 4, 5], 2)
        #expect(try digest([0, 1, 2, 3, 4, 5], 2) == first)
        #expect(first.count == 64)
        #expect(try digest([0, 1, 2, 3, 4, 6], 2) != first)
        #expect(try digest([0, 1, 2, 3, 4, 5], 3) != first)
        #expect(try digest([0, 1, 2, 3, 4, 5], 2, limit: 2) != first)
    }

    @Test func `No window spans two rows`() throws {
        let fixture = try DataFixture()
        let rows = try fixture.read("a.safetensors", safetensors("I32", [2, 3], [0, 1, 2, 3, 4, 5] as [Int32]))
        let windows = try Windows(rows, length: 2, maximum: 8)
        #expect((0..<windows.count).map { windows[$0] } == [[0, 1], [3, 4]])
    }

    @Test func `Lengths that cannot be are refused`() throws {
        #expect(throws: DataError.tooShort(path: "ten", longest: 10, needed: 11)) {
            try Windows(source, length: 11, maximum: 64)
        }
        #expect(throws: DataError.sequenceTooLong(length: 65, maximum: 64)) { try Windows(source, length: 65, maximum: 64) }
        #expect(throws: DataError.sequenceTooShort(length: 1)) { try Windows(source, length: 1, maximum: 64) }
        #expect(throws: DataError.noBeginToken(path: "ten")) { try Windows(source, length: 4, maximum: 64, bos: .sequence) }
        #expect(DataError.sequenceTooLong(length: 65, maximum: 64).exitCode == .configuration)
        #expect(DataError.tooShort(path: "ten", longest: 10, needed: 11).exitCode == .data)
        #expect(DataError.tooShort(path: "a", longest: 1, needed: 8).description.contains(": 1 token where 8 are needed"))
    }
}

@Suite struct DataReportTests {
    private func settings(_ assignments: [String]) throws -> DataSettings { try RunConfig(assignments: assignments).data }

    private func report(
        _ settings: [String], train: TokenSource? = nil, eval: TokenSource? = nil, _ fixture: DataFixture
    ) throws -> DataReport {
        let data = try self.settings(["data.sequence_length=2"] + settings)
        func windows(_ source: TokenSource?) throws -> Windows? {
            try source.map { try Windows($0, length: 2, maximum: 8, bos: data.bos, bosToken: 5) }
        }
        return DataReport(
            sequenceLength: data.sequenceLength, bos: data.bos, windowsAsked: data.evalWindows, windowsDrawn: 7,
            training: try windows(train), evaluation: try windows(eval), tokenizer: fixture.tokenizer)
    }

    @Test func `What is lost of a text is said once and counted`() throws {
        let fixture = try DataFixture()
        let source = try fixture.read("a.txt", "abcd\u{E9}".utf8)
        let report = try report(["data.eval.windows=2"], train: source, eval: source, fixture)
        #expect(report.notes.filter { $0.contains("2 bytes of the text (33.3 %) have no token and were dropped") }.count == 1)
        #expect(report.json["train"]?["dropped_bytes"]?.integer == 2)
        #expect(report.json["train"]?["sha256"]?.string == source.sha256)
        #expect(report.json["dropped_bytes"]?.integer == 4)
        #expect(report.json["eval"]?["windows"]?.integer == 2)
        #expect(try self.report([], train: source, fixture).json["eval"] == ["windows": 7])
    }

    @Test func `Fewer windows than asked for, and the same text twice, are said`() throws {
        let fixture = try DataFixture()
        let (a, b) = (try fixture.read("a.txt", "abcd".utf8), try fixture.read("b.txt", "abcde".utf8))
        #expect(try report(["data.eval.windows=2"], train: b, eval: a, fixture).notes.isEmpty)
        let few = try report(["data.eval.windows=3"], train: b, eval: a, fixture).notes
        #expect(few.count == 1 && few[0].contains("has 2 windows of 2 tokens; data.eval.windows asks for 3"))
        let copy = try fixture.read("copy.txt", "abcd".utf8)
        let same = try report(["data.eval.windows=2"], train: copy, eval: a, fixture).notes
        #expect(same.count == 1 && same[0].contains("is learned from and evaluated on"))
    }

    @Test func `Windows that began with the begin token already are said`() throws {
        let fixture = try DataFixture()
        let rows = try fixture.read("a.safetensors", safetensors("I32", [2, 2], [5, 0, 1, 2] as [Int32]))
        let notes = try report(["data.eval.windows=2", "data.bos=sequence"], eval: rows, fixture).notes
        #expect(notes.contains { $0.contains("1 of 3 windows") && $0.contains("each has it once") }, "\(notes)")
    }
}
