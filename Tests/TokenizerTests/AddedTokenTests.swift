import HuggingFace
import TestSupport
import Testing

/// Added tokens and normalizers on texts that take an algorithm time in proportion to their square, or wrong turns. Ids are
/// those of tokenizers 0.23.
@Suite struct AddedTokenTests {
    /// Looking for each token at each place would take 4·10¹⁰ steps.
    @Test(.timeLimit(.minutes(1)))
    func `A token longer than most of the text's repeats is looked for in time in proportion to the text`() throws {
        var small = SmallTokenizer()
        let long = String(repeating: "a", count: 20_000) + "b"
        small.addedTokens = #"[{"id": 6, "content": "\#(long)", "normalized": false}, {"id": 7, "content": "aa"}]"#
        let tokenizer = try small.load()
        let text = String(repeating: "a", count: 2_000_001) + "c"
        let ids = tokenizer.encode(text, addSpecialTokens: false)
        #expect(ids == Array(repeating: 7, count: 1_000_000) + [0, 2])
        #expect(tokenizer.encode("a" + long + "aa", addSpecialTokens: false) == [0, 6, 7])
    }

    @Test(.timeLimit(.minutes(1)))
    func `White space that belongs to many tokens is run through once`() throws {
        var small = SmallTokenizer()
        small.addedTokens = #"[{"id": 6, "content": " ", "rstrip": true, "normalized": false}]"#
        let ids = try small.load().encode(String(repeating: " ", count: 1_000_000) + "a", addSpecialTokens: false)
        #expect(ids == Array(repeating: 6, count: 1_000_000) + [0])
    }

    @Test(.timeLimit(.minutes(1)))
    func `A replacement takes time in proportion to the text, whatever it replaces`() throws {
        var small = SmallTokenizer()
        let long = String(repeating: "a", count: 20_000)
        small.addedTokens = "[]"
        small.normalizer = #"{"type": "Replace", "pattern": {"String": "\#(long)b"}, "content": "c"}"#
        let tokenizer = try small.load()
        let ids = tokenizer.encode(String(repeating: "a", count: 2_000_000), addSpecialTokens: false)
        #expect(ids == Array(repeating: 0, count: 2_000_000))
        #expect(tokenizer.encode("aa" + long + "bb", addSpecialTokens: false) == [0, 0, 2, 1])
    }

    /// Blocks end at multiples of 65,536 bytes; some tokens lie across.
    @Test func `Tokens are found as by looking for each at each place`() throws {
        var small = SmallTokenizer()
        let added = ["ab", "abc", "bca", "cabca", "ca", "bb", "aabaab"]
        let tokens = added.enumerated().map { #"{"id": \#($0 + 3), "content": "\#($1)", "normalized": false}"# }
        small.vocabulary = #"{"a": 0, "b": 1, "c": 2}"#
        small.merges = "[]"
        small.addedTokens = "[\(tokens.joined(separator: ","))]"
        var state: UInt64 = 7
        let text = (0..<200_000).map { _ -> UInt8 in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return [97, 97, 98, 98, 99][Int(state >> 33) % 5]
        }
        var (expected, position): ([Int32], Int) = ([], 0)
        while position < text.count {
            let found = added.indices.filter { text[position...].starts(with: added[$0].utf8) }
            if let longest = found.max(by: { added[$0].utf8.count < added[$1].utf8.count }) {
                expected.append(Int32(longest + 3))
                position += added[longest].utf8.count
            } else {
                expected.append(Int32(text[position]) - 97)
                position += 1
            }
        }
        let tokenizer = try small.load()
        #expect(tokenizer.encode(String(decoding: text, as: UTF8.self), addSpecialTokens: false) == expected)
    }

    /// A text that a normalizer changes in several steps, one of them across the ends of the parts that it is handed on in.
    @Test func `Replacements follow each other in a text of many parts`() throws {
        var small = SmallTokenizer()
        small.normalizer = """
            {"type": "Sequence", "normalizers": [
                {"type": "Replace", "pattern": {"String": "cca"}, "content": "x"}, {"type": "Prepend", "prepend": "x"},
                {"type": "Replace", "pattern": {"String": "xb"}, "content": "ab"},
                {"type": "Replace", "pattern": {"String": "x"}, "content": ""}]}
            """
        small.addedTokens = "[]"
        let tokenizer = try small.load()
        #expect(tokenizer.encode("", addSpecialTokens: false) == [])
        #expect(tokenizer.encode("bccabccaccac", addSpecialTokens: false) == [3, 0, 4])
        let ids = tokenizer.encode(String(repeating: "ccab", count: 100_000) + "cc", addSpecialTokens: false)
        #expect(ids == Array(repeating: 3, count: 99_999) + [0, 4, 2])
    }

    /// Foundation's composition makes ö of the first two and U+04F9 of the last two.
    @Test func `Characters beyond the basic plane are not composed with marks`() throws {
        var small = SmallTokenizer()
        small.preTokenizer = "null"
        small.normalizer = #"{"type": "NFC"}"#
        small.vocabulary = #"{"\udb40\udc6f": 0, "\u0308": 1, "\ud801\udc4b": 2, "\u00f6": 3, "\u04f9": 4, "\u1e0b": 5}"#
        small.merges = "[]"
        small.addedTokens = "[]"
        let tokenizer = try small.load()
        #expect(tokenizer.encode("\u{E006F}\u{308}\u{1044B}\u{308}", addSpecialTokens: false) == [0, 1, 2, 1])
        #expect(tokenizer.encode("o\u{308}d\u{307}", addSpecialTokens: false) == [3, 5])
        // Composed in parts of at least 4096 characters.
        let ids = tokenizer.encode(String(repeating: "o\u{308}", count: 20_000), addSpecialTokens: false)
        #expect(ids == Array(repeating: 3, count: 20_000))
    }

    /// The vocabulary itself may have gaps; an added token's id is in none of them by chance alone.
    @Test func `New tokens have the ids behind the vocabulary's, as many as it has tokens`() throws {
        var small = SmallTokenizer()
        small.vocabulary = #"{"a": 0, "b": 5, "c": 9, "ab": 7, "bc": 8, "Ġ": 2}"#
        small.addedTokens = #"[{"id": 9, "content": "c"}, {"id": 6, "content": "<s>"}]"#
        #expect(try small.load().encode("ab<s>bc", addSpecialTokens: false) == [7, 6, 5, 9])
        small.addedTokens = "[]"
        #expect(try small.load().encode("abc", addSpecialTokens: false) == [0, 8])
    }

    /// The library gave 10 and 11 until version 0.21, and 4 and 5 since.
    @Test func `Ids after a gap of the vocabulary may be those of the library that wrote the file`() throws {
        var small = SmallTokenizer()
        small.vocabulary = #"{"a": 0, "b": 1, "<E>": 3, "<P>": 9}"#
        small.merges = "[]"
        func tokens(_ first: Int) -> String {
            #"[{"id": 3, "content": "<E>"}, {"id": 9, "content": "<P>"}, {"id": \#(first), "content": "<u>"}, "#
                + #"{"id": \#(first + 1), "content": "<v>"}]"#
        }
        for first in [4, 10] {
            small.addedTokens = tokens(first)
            #expect(try small.load().encode("a<v><u>", addSpecialTokens: false) == [0, Int32(first + 1), Int32(first)])
        }
        small.addedTokens = tokens(6)
        #expect { try small.load() } throws: { "\($0)".contains("has the id 6, but") }
    }
}
