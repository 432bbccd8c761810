import HuggingFace
import Support
import TestSupport
import Testing

@Suite struct TokenizerTests {
    @Test func `Merges go by rank, then from the left`() throws {
        let tokenizer = try SmallTokenizer().load()
        #expect(tokenizer.encode("abc", addSpecialTokens: false) == [0, 4])
        #expect(tokenizer.encode("abab", addSpecialTokens: false) == [3, 3])
        #expect(tokenizer.encode("ab<s>c a", addSpecialTokens: false) == [3, 6, 2, 5, 0])
        #expect(tokenizer.vocabularySize == 7)
    }

    @Test func `A merge that would overlap a better one is given up`() throws {
        var small = SmallTokenizer()
        small.vocabulary = #"{"a": 0, "aa": 1, "aaa": 2}"#
        small.merges = #"[["a", "a"], ["aa", "a"]]"#
        small.addedTokens = "[]"
        let tokenizer = try small.load()
        #expect(tokenizer.encode("aaa", addSpecialTokens: false) == [2])
        #expect(tokenizer.encode("aaaa", addSpecialTokens: false) == [1, 1])
        #expect(tokenizer.encode("aaaaa", addSpecialTokens: false) == [1, 2])
    }

    @Test func `Both forms of é have tokens of their own`() throws {
        var small = SmallTokenizer()
        small.preTokenizer = "null"
        small.decoder = #"{"type": "Fuse"}"#
        small.vocabulary = #"{"é": 0, "e": 1, "\u0301": 2, "e\u0301": 3}"#
        small.merges = #"[["e", "\u0301"]]"#
        small.addedTokens = "[]"
        let tokenizer = try small.load()
        #expect(tokenizer.encode("\u{E9}", addSpecialTokens: false) == [0])
        #expect(tokenizer.encode("e\u{301}", addSpecialTokens: false) == [3])
        #expect(Array(tokenizer.decode([3], skipSpecialTokens: false).utf8) == [0x65, 0xCC, 0x81])
    }

    @Test func `Ids without a token are left out when decoding`() throws {
        let tokenizer = try SmallTokenizer().load()
        #expect(tokenizer.decode([0, 99, -1, 1, .max, 6], skipSpecialTokens: false) == "ab<s>")
        #expect(tokenizer.decode([6, 0], skipSpecialTokens: true) == "a")
    }

    /// A quadratic algorithm takes minutes here; this one takes well under a second.
    @Test(.timeLimit(.minutes(5)))
    func `A long text without a boundary takes time in proportion to n log n`() throws {
        let tokenizer = try SmallTokenizer().load()
        let ids = tokenizer.encode(String(repeating: "ab", count: 500_000), addSpecialTokens: false)
        // Rank 0 is "b c", which does not occur: every pair "a b" merges.
        #expect(ids == Array(repeating: 3, count: 500_000))
    }

    @Test func `A folder says which tokens begin and end a text`() throws {
        let folder = try TemporaryFolder()
        try AtomicFile.write(SmallTokenizer().json, to: folder.file("tokenizer.json"))
        #expect(try Tokenizer(folder: folder.path).bosToken == nil)
        try AtomicFile.write(#"{"bos_token_id": 0, "eos_token_id": [1, 2]}"#, to: folder.file("config.json"))
        #expect(try Tokenizer(folder: folder.path).bosToken == 0)
        #expect(try Tokenizer(folder: folder.path).eosToken == 1)
        try AtomicFile.write(
            #"{"bos_token": {"content": "<s>"}, "eos_token": "c"}"#, to: folder.file("tokenizer_config.json"))
        #expect(try Tokenizer(folder: folder.path).bosToken == 6)
        #expect(try Tokenizer(folder: folder.path).eosToken == 2)
        try AtomicFile.write(#"{"bos_token": "<absent>"}"#, to: folder.file("tokenizer_config.json"))
        #expect(throws: FileError.self) { try Tokenizer(folder: folder.path) }
    }

    @Test func `An empty list of tokens that end a text names none`() throws {
        let folder = try TemporaryFolder()
        var keys = JSONObject()
        keys["eos_token_id"] = 2
        let config = HFConfig(keys, path: "config.json")
        let tokenizer = try SmallTokenizer().load()
        func ends() throws -> Set<Int32> { try tokenizer.endTokens(ofFolder: folder.path, config, vocabulary: 6) }
        for (list, expected) in [("[]", [2]), ("[0, 1]", [0, 1])] as [(String, Set<Int32>)] {
            try AtomicFile.write(#"{"eos_token_id": \#(list)}"#, to: folder.file("generation_config.json"))
            #expect(try ends() == expected)
        }
    }

    @Test func `A text of many characters is split off like a short one`() throws {
        var small = SmallTokenizer()
        let bar = String(repeating: "b", count: 1024)
        small.preTokenizer = #"""
            {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"String": "\#(bar)"}, "behavior": "Removed"},
                {"type": "ByteLevel", "add_prefix_space": false}]}
            """#
        #expect(try small.load().encode("a\(bar)abc", addSpecialTokens: false) == [0, 0, 4])
    }

    /// What the token before has taken is not there for one that strips white space on its left. All but the third are what
    /// tokenizers 0.23 answers; there it fails.
    @Test func `white space that a token has stripped is no token of its own`() throws {
        var small = SmallTokenizer()
        small.addedTokens = """
            [{"id": 6, "content": "<s>", "special": true, "rstrip": true},
             {"id": 7, "content": "  ", "lstrip": true, "normalized": false},
             {"id": 8, "content": "\\t", "normalized": false}, {"id": 9, "content": "\\n\\n", "normalized": false}]
            """
        let tokenizer = try small.load()
        #expect(tokenizer.encode("<s>  a", addSpecialTokens: false) == [6, 0])
        #expect(tokenizer.encode("a  b", addSpecialTokens: false) == [0, 7, 1])
        #expect(tokenizer.encode("<s>   a", addSpecialTokens: false) == [6, 0])
        // One that does not strip counts all the same, and so does white space behind it.
        #expect(tokenizer.encode("<s>\ta", addSpecialTokens: false) == [6, 8, 0])
        #expect(tokenizer.encode("<s>\n\n a", addSpecialTokens: false) == [6, 9, 5, 0])
    }
}
