import HuggingFace
import TensorCore
import TestSupport
import Testing

@testable import Training

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

    func read(_ name: String, _ content: some Collection<UInt8>, vocabularySize: Int = 6) throws -> TokenSource {
        try AtomicFile.write(content, to: folder.file(name))
        return try TokenSource(contentsOf: folder.file(name), vocabularySize: vocabularySize) { tokenizer }
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
        ("a.safetensors", safetensors("I32", [1, 2], [0, 6] as [Int32]), "token 6 at position 1 is outside"),
        ("a.safetensors", safetensors("I64", [1, 2], [0, 1 << 32] as [Int64]), "4294967296 at position 1 is no token"),
        ("a.safetensors", safetensors("I32", [1, 2], [-1, 0] as [Int32]), "-1 at position 0 is no token"),
        ("a.safetensors", safetensors("I32", [2], [0, 1] as [Int32]), "has shape [2]"),
        ("a.safetensors", safetensors("U8", [1, 2], [0, 1] as [UInt8]), "has type U8"),
        ("a.safetensors", safetensors("I32", [0, 4], [] as [Int32]), "contains no text"),
        ("a.safetensors", safetensors("I32", [4, 0], [] as [Int32]), "contains no text"),
    ])
    func `Data that cannot be used is refused in one line`(name: String, content: [UInt8], message: String) throws {
        let fixture = try DataFixture()
        let error = try #require(throws: DataError.self) { try fixture.read(name, content) }
        #expect(error.exitCode == .data)
        #expect(error.description.contains(message), "\(error)")
        #expect(!error.description.contains("\n"))
    }

    @Test func `A tokenizer with more tokens than the model is found out`() throws {
        let fixture = try DataFixture()
        #expect(throws: DataError.tokenOutside(path: fixture.folder.file("a.txt"), position: 2, token: 4, vocabularySize: 4)) {
            try fixture.read("a.txt", "abe".utf8, vocabularySize: 4)
        }
    }

    @Test func `A missing file is a missing file`() throws {
        let fixture = try DataFixture()
        let error = try #require(throws: HuggingFaceError.self) {
            try TokenSource(contentsOf: fixture.folder.file("none.txt"), vocabularySize: 6) { fixture.tokenizer }
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
    }
}
