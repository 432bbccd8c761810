import Foundation
import Support
import TestSupport
import Testing

@testable import HuggingFace

/// What Hugging Face's tokenizers package makes of texts; written by Golden/tokenizer/make_pretokenizers.py.
private enum Fixtures {
    static let document: JSONValue? = {
        let here = URL(filePath: #filePath).deletingLastPathComponent()
        return try? InputFile.json(here.appending(path: "../Golden/tokenizer/pretokenizers.json").path)
    }()

    static func names(_ key: String) -> [String] { document?[key]?.object?.members.map(\.key) ?? [] }
}

@Suite struct PreTokenizerTests {
    @Test func `There are fixtures`() {
        #expect(Fixtures.names("pieces").count == 45)
        #expect(Fixtures.names("models").count == 9)
    }

    @Test(arguments: Fixtures.names("pieces"))
    func `Pieces are those of the tokenizers package`(name: String) throws {
        let entry = try #require(Fixtures.document?["pieces"]?[name])
        let steps = try PreTokenizer.steps(TokenizerSection(try #require(entry["pre_tokenizer"]), at: "pre_tokenizer"))
        let texts = try #require(Fixtures.document?["texts"]?.array)
        let lengths = try #require(entry["lengths"]?.array)
        #expect(texts.count == lengths.count && !texts.isEmpty)
        for (text, wanted) in zip(texts, lengths) {
            let text = try #require(text.string)
            let bytes = Array(text.utf8)
            var pieces: [Int] = []
            PreTokenizer.forEachPiece(of: bytes, range: bytes.indices, isFirst: true, steps: steps[...]) {
                pieces.append($1.count)
            }
            #expect(pieces == (try #require(wanted.integers)), "\(text.debugDescription)")
        }
    }

    @Test(arguments: Fixtures.names("models"))
    func `Ids are those of the tokenizers package`(name: String) throws {
        let entry = try #require(Fixtures.document?["models"]?[name])
        let tokenizer = try SmallTokenizer.load(try #require(entry["tokenizer"]).text(.compact, sortedKeys: false))
        let (texts, ids) = (try #require(entry["texts"]?.array), try #require(entry["ids"]?.array))
        #expect(texts.count == ids.count && !texts.isEmpty)
        for (text, wanted) in zip(texts, ids) {
            let text = try #require(text.string)
            #expect(tokenizer.encode(text).ids == (try #require(wanted.integers)).map(Int32.init), "\(text.debugDescription)")
        }
    }

    /// Time in proportion to the text is what the program promises of every expression it accepts.
    @Test(arguments: [
        "(a+)+$", "a*b", #"\s+$|a"#, #"a\s+$"#, #"\w+"#, "a*b|a|a+", #"(?i:st)"#, "a{1,3}+", ".*", #"\s+(?!\S)|a"#,
        #"\p{Han}+"#, "[a-z", "$", "a*$",
        "a||b", "a*",
        // The next four would take exponential time, or time in proportion to a high power.
        String(repeating: "a?", count: 40) + "b", String(repeating: "(?:a|a)?", count: 30) + "b",
        String(repeating: "a{1,16}", count: 6) + "b", Array(repeating: "a{1,16}b", count: 5).joined(separator: "|"),
        String(repeating: "a", count: 1025),
        "a+b+c|a+", "(a|b)+", "[a&&b]", "[[a]]", "", "a{1000}", #"\1"#, "^a", #"\bx"#, "a+?", #"(?<=a)b"#,
    ])
    func `Other regular expressions are refused`(regex: String) {
        #expect(SplitPattern(regex: regex) == nil)
    }

    @Test func `Expressions that try few ways, or cannot fail after many, are not refused`() {
        let long = ["b" + String(repeating: "a?", count: 40), String(repeating: "a", count: 1024)]
        for regex in ["a?a?a?b", "a{1,16}b|(?:a|b)?c"] + long { #expect(SplitPattern(regex: regex) != nil, "\(regex)") }
    }

    @Test(.timeLimit(.minutes(2)), arguments: ["a", "A", " ", "\n", "a\n", "1", "\u{301}", "!", "漢"])
    func `A megabyte without a boundary takes no longer than another`(unit: String) throws {
        let text = Array(String(repeating: unit, count: 300_000).utf8)
        let names = [
            "GPT-2", "GPT-4", "Llama 3", "Qwen 3.5", "GPT-4o", "Tekken", "DeepSeek V3", "DeepSeek V2", "spaces at line ends",
        ]
        for name in names {
            let section = try #require(Fixtures.document?["pieces"]?[name]?["pre_tokenizer"])
            let steps = try PreTokenizer.steps(TokenizerSection(section, at: ""))
            var total = 0
            PreTokenizer.forEachPiece(of: text, range: text.indices, isFirst: true, steps: steps[...]) { total += $1.count }
            #expect(total == text.count)
        }
    }

    @Test func `Characters assigned after Unicode 16 are none of a category`() {
        // U+A7CE and U+A7CF came with Unicode 17; U+1C89 with 16.
        #expect(CharacterTable.category("\u{A7CE}") == .unassigned)
        #expect(CharacterTable.category("\u{1C89}") == .uppercaseLetter)
        #expect(CharacterTable.category("\u{295}") == .lowercaseLetter)
        #expect(CharacterTable.category("\u{E000}") == .privateUse)
    }

    @Test func `What the vocabulary cannot express is counted`() throws {
        func lost(_ name: String, _ text: String) throws -> LostText {
            let entry = try #require(Fixtures.document?["models"]?[name]?["tokenizer"])
            return try SmallTokenizer.load(entry.text(.compact, sortedKeys: false)).encode(text).lost
        }
        // The vocabulary lacks x and the byte F0, which begins U+1D800.
        #expect(try lost("bytes lacking", "a \u{1D800}x\u{1D800}") == LostText(dropped: 3))
        #expect(try lost("digits and bytes", "a \u{1D800}x") == LostText())
        #expect(try lost("unknown", "abc\u{E9}") == LostText(unknown: 3))
        #expect(try lost("neither", "abc\u{E9} c") == LostText(dropped: 5))
    }
}
