import Glibc
import HuggingFace
import Support
import TestSupport
import Testing

/// A tokenizer.json that must be refused, and a part of the message that says why.
struct MalformedTokenizer: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let json: String
    let message: String

    init(_ name: String, _ message: String, _ change: (inout SmallTokenizer) -> Void) {
        var small = SmallTokenizer()
        change(&small)
        testDescription = name
        json = small.json
        self.message = message
    }

    /// A component made of `count` times the same step.
    private static func sequence(_ list: String, _ step: String, _ count: Int) -> String {
        #"{"type": "Sequence", "\#(list)": [\#(Array(repeating: step, count: count).joined(separator: ", "))]}"#
    }

    static let all = [
        MalformedTokenizer("negative id", "model.vocab: the id -1 is outside") { $0.vocabulary = #"{"a": -1, "b": 1}"# },
        MalformedTokenizer("huge id", "model.vocab: the id 4000000000 is outside") { $0.vocabulary = #"{"a": 4000000000}"# },
        MalformedTokenizer("id of 2^63", "is not an integer") { $0.vocabulary = #"{"a": 9223372036854775808}"# },
        MalformedTokenizer("fractional id", "is not an integer") { $0.vocabulary = #"{"a": 0.5}"# },
        MalformedTokenizer("id twice", #"the id 1 is given to both "b" and "c""#) {
            $0.vocabulary = #"{"a": 0, "b": 1, "c": 1}"#
        },
        MalformedTokenizer("token twice", "occurs twice") { $0.vocabulary = #"{"a": 0, "\u0061": 1}"# },
        MalformedTokenizer("added id of another token", #"added_tokens[0].id: the id 0 is given to both "a" and "<s>""#) {
            $0.addedTokens = #"[{"id": 0, "content": "<s>"}]"#
        },
        MalformedTokenizer("added token with another id", #""a" has both the id 0 and the id 9"#) {
            $0.addedTokens = #"[{"id": 9, "content": "a"}]"#
        },
        MalformedTokenizer("huge added id", "added_tokens[0].id: the id 99999999999 is outside") {
            $0.addedTokens = #"[{"id": 99999999999, "content": "<s>"}]"#
        },
        MalformedTokenizer("empty added token", "added_tokens[0].content: is empty") {
            $0.addedTokens = #"[{"id": 9, "content": ""}]"#
        },
        MalformedTokenizer("gap before an added token", #"added_tokens[1].id: "<t>" has the id 8, but"#) {
            $0.addedTokens = #"[{"id": 6, "content": "<s>"}, {"id": 8, "content": "<t>"}]"#
        },
        MalformedTokenizer("added token in a gap of the vocabulary", #""<s>" has the id 1, but"#) {
            $0.vocabulary = #"{"a": 0, "b": 2, "c": 3, "ab": 4, "bc": 5}"#
            $0.addedTokens = #"[{"id": 1, "content": "<s>"}]"#
        },
        MalformedTokenizer("added token twice, with other flags", #"added_tokens[1].content: "<s>" is listed a second time"#) {
            $0.addedTokens = #"[{"id": 6, "content": "<s>"}, {"id": 6, "content": "<s>", "lstrip": true}]"#
        },
        MalformedTokenizer("added token that normalizes to nothing", #"added_tokens: nothing is left of "<s>""#) {
            $0.normalizer = #"{"type": "Replace", "pattern": {"String": "<s>"}, "content": ""}"#
            $0.addedTokens = #"[{"id": 6, "content": "<s>", "normalized": true}]"#
        },
        MalformedTokenizer("added tokens that normalize to one", "the ids 6 and 7 have the same text when normalized") {
            $0.normalizer = #"{"type": "NFC"}"#
            $0.addedTokens = #"[{"id": 6, "content": "<e\u0301>"}, {"id": 7, "content": "<\u00e9>"}]"#
        },
        MalformedTokenizer("normalizer that grows", "normalizer: could make a text more than 1000 times") {
            let step = #"{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}"#
            let steps = Array(repeating: step, count: 30).joined(separator: ", ")
            $0.normalizer = #"{"type": "Sequence", "normalizers": [\#(steps)]}"#
        },
        MalformedTokenizer("first word behind a normalizer that moves it", "pre_tokenizer: marks the first word alone") {
            $0.normalizer = #"{"type": "Replace", "pattern": {"String": "aa"}, "content": "b"}"#
            $0.preTokenizer = #"{"type": "Metaspace", "replacement": "_", "prepend_scheme": "first"}"#
        },
        MalformedTokenizer("merge of an absent token", #"model.merges[1]: "z" is not in the vocabulary"#) {
            $0.merges = #"["a b", "a z"]"#
        },
        MalformedTokenizer("merge into an absent token", #"model.merges[0]: "ac" is not in the vocabulary"#) {
            $0.merges = #"["a c"]"#
        },
        MalformedTokenizer("merge of three", "model.merges[0]: is neither") { $0.merges = #"["a b c"]"# },
        MalformedTokenizer("merge that is a number", "model.merges[0]: is neither") { $0.merges = "[1]" },
        MalformedTokenizer("merges that are no list", "model.merges: is not a list") { $0.merges = "{}" },
        MalformedTokenizer("too many steps", "normalizer.normalizers: has 65 elements; at most 64") {
            $0.normalizer = sequence("normalizers", #"{"type": "NFC"}"#, 65)
        },
        MalformedTokenizer("too many pre-tokenizers", "pre_tokenizer.pretokenizers: has 65 elements; at most 64") {
            $0.preTokenizer = sequence("pretokenizers", #"{"type": "Digits"}"#, 65)
        },
        MalformedTokenizer("too many steps in sequences", "pre_tokenizer.pretokenizers: has more than 64 steps") {
            $0.preTokenizer = sequence("pretokenizers", sequence("pretokenizers", #"{"type": "Digits"}"#, 9), 8)
        },
        MalformedTokenizer("too many post-processors", "post_processor.processors: has 65 elements; at most 64") {
            $0.postProcessor = sequence("processors", #"{"type": "ByteLevel"}"#, 65)
        },
        MalformedTokenizer("too many decoders", "decoder.decoders: has 65 elements; at most 64") {
            $0.decoder = sequence("decoders", #"{"type": "Fuse"}"#, 65)
        },
        MalformedTokenizer("long split pattern", "pre_tokenizer.pattern: has more than 1024 characters") {
            let text = String(repeating: "=", count: 60_000)
            $0.preTokenizer = #"{"type": "Split", "pattern": {"String": "\#(text)"}, "behavior": "Isolated"}"#
        },
        MalformedTokenizer("long added token", "added_tokens[0].content: has 65537 bytes; at most 65536") {
            $0.addedTokens = #"[{"id": 6, "content": "\#(String(repeating: "a", count: 65_537))"}]"#
        },
        MalformedTokenizer("added tokens that normalize to megabytes", "added_tokens: have more than 8388608 bytes") {
            let long = String(repeating: "a", count: 900)
            $0.normalizer = #"{"type": "Replace", "pattern": {"String": "a"}, "content": "\#(long)"}"#
            $0.addedTokens = #"[{"id": 6, "content": "\#(String(repeating: "a", count: 10_000))"}]"#
        },
        MalformedTokenizer("unknown regex", #"pre_tokenizer.pattern: the regular expression (a+)+$ is not supported"#) {
            $0.preTokenizer = #"{"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"}"#
        },
        MalformedTokenizer("other split behavior", #"behavior: "Dropped" is not supported"#) {
            $0.preTokenizer = #"{"type": "Split", "pattern": {"Regex": "\\p{N}"}, "behavior": "Dropped"}"#
        },
        MalformedTokenizer("empty split pattern", "pre_tokenizer.pattern: is empty") {
            $0.preTokenizer = #"{"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated"}"#
        },
        MalformedTokenizer("digits that are no flag", "individual_digits: is neither true nor false") {
            $0.preTokenizer = #"{"type": "Digits", "individual_digits": 1}"#
        },
        MalformedTokenizer("regex in a normalizer", "normalizer.pattern: is not") {
            $0.normalizer = #"{"type": "Replace", "pattern": {"Regex": " +"}, "content": " "}"#
        },
        MalformedTokenizer("empty pattern", "normalizer.pattern: is empty") {
            $0.normalizer = #"{"type": "Replace", "pattern": {"String": ""}, "content": " "}"#
        },
        MalformedTokenizer("unknown normalizer", #"normalizer.type: "BertNormalizer" is not supported"#) {
            $0.normalizer = #"{"type": "BertNormalizer"}"#
        },
        MalformedTokenizer("unknown pre-tokenizer", #"pre_tokenizer.pretokenizers[0].type: "Whitespace" is not supported"#) {
            $0.preTokenizer = #"{"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}]}"#
        },
        MalformedTokenizer("byte level before a split", "only as the last step") {
            $0.preTokenizer =
                #"{"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}, {"type": "Metaspace", "replacement": "_"}]}"#
        },
        MalformedTokenizer("unknown post-processor", #"post_processor.type: "BertProcessing" is not supported"#) {
            $0.postProcessor = #"{"type": "BertProcessing"}"#
        },
        MalformedTokenizer("template without text", "post_processor.single: does not contain the text A") {
            $0.postProcessor = #"{"type": "TemplateProcessing", "single": []}"#
        },
        MalformedTokenizer("template with an absent token", "the id 77 of \"<s>\" is not a token of the vocabulary") {
            $0.postProcessor = """
                {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
                 "special_tokens": {"<s>": {"id": "<s>", "ids": [77]}}}
                """
        },
        MalformedTokenizer("unknown decoder", #"decoder.type: "WordPiece" is not supported"#) {
            $0.decoder = #"{"type": "WordPiece"}"#
        },
        MalformedTokenizer("dropout", "model.dropout: is set") { $0.options = #""dropout": 0.1, "# },
        MalformedTokenizer("suffix", "model.end_of_word_suffix: is set") { $0.options = #""end_of_word_suffix": "</w>", "# },
        MalformedTokenizer("absent unknown token", "model.unk_token: \"<unk>\" is not in the vocabulary") {
            $0.options = #""unk_token": "<unk>", "#
        },
        MalformedTokenizer("flag that is no flag", "model.byte_fallback: is neither true nor false") {
            $0.options = #""byte_fallback": 1, "#
        },
        MalformedTokenizer("nested too deeply", "nested deeper than 16") {
            $0.normalizer = String(repeating: "[", count: 100_000)
        },
        MalformedTokenizer("empty vocabulary", "model.vocab: is empty") {
            $0 = SmallTokenizer(addedTokens: "[]", vocabulary: "{}", merges: "[]")
        },
    ]
}

@Suite struct MalformedTokenizerTests {
    @Test(arguments: MalformedTokenizer.all)
    func `A malformed tokenizer is refused in one line that says why`(malformed: MalformedTokenizer) throws {
        let error = try #require(throws: FileError.self) { try SmallTokenizer.load(malformed.json) }
        #expect(error.exitCode == .data)
        #expect(error.description.contains(malformed.message), "\(error)")
        #expect(!error.description.contains("\n"))
    }

    @Test func `Other models than BPE are refused`() throws {
        let error = try #require(throws: FileError.self) {
            try SmallTokenizer.load(#"{"model": {"type": "Unigram", "vocab": []}}"#)
        }
        #expect(error.description.contains(#"model.type: "Unigram" is not supported"#))
    }

    @Test func `A file above the limit is refused unread`() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("tokenizer.json")
        try AtomicFile.write("", to: path)
        try #require(truncate(path, Tokenizer.fileLimit + 1) == 0)
        let error = try #require(throws: FileError.self) { try Tokenizer(contentsOf: path) }
        #expect(error.exitCode == .data)
    }

    /// Every document that is cut short must be refused, not crash.
    @Test func `A truncated file is refused wherever it is cut`() throws {
        let json = Array(SmallTokenizer().json.utf8)
        for length in json.indices {
            #expect(throws: FileError.self) {
                try SmallTokenizer.load(String(decoding: json[..<length], as: UTF8.self))
            }
        }
    }
}
