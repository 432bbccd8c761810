import HuggingFace
import Support
import TestSupport
import Testing

@testable import Exports

/// llama.cpp's names for ways to cut a text.
@Suite struct PreTokenizerNameTests {
    private static let pattern =
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#

    private static func document(_ steps: [JSONValue], ignoresMerges: Bool = false) -> JSONValue {
        [
            "pre_tokenizer": ["type": "Sequence", "pretokenizers": .array(steps)],
            "model": ["type": "BPE", "ignore_merges": .bool(ignoresMerges)],
        ]
    }

    private static func split(_ digits: String, _ more: [String: JSONValue] = ["behavior": "Isolated", "invert": false])
        -> JSONValue
    {
        var object = JSONObject()
        object["type"] = "Split"
        object["pattern"] = ["Regex": .string(pattern.replacing("DIGITS", with: digits))]
        for (key, value) in more { object[key] = value }
        return .object(object)
    }

    private static let bytes: JSONValue = [
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false,
    ]
    private static let bytesByPattern: JSONValue = ["type": "ByteLevel", "add_prefix_space": false]

    @Test func `each known way has its name`() {
        func name(_ document: JSONValue) -> String? { GGUFPreTokenizer.of(document)?.name }
        #expect(name(["pre_tokenizer": Self.bytesByPattern, "model": ["type": "BPE"]]) == "gpt-2")
        #expect(name(Self.document([["type": "Digits", "individual_digits": true], Self.bytesByPattern])) == "smollm")
        #expect(name(Self.document([Self.split("{1,3}"), Self.bytes], ignoresMerges: true)) == "llama-bpe")
        #expect(name(Self.document([Self.split("{1,3}"), Self.bytes])) == "smaug-bpe")
        #expect(name(Self.document([Self.split(""), Self.bytes])) == "qwen2")
        #expect(name(Self.document([Self.split("", ["behavior": "Removed", "invert": true]), Self.bytes])) == "qwen2")
    }

    @Test func `a way that is only near has none`() {
        let near: [JSONValue] = [
            Self.document([["type": "Digits", "individual_digits": false], Self.bytesByPattern]),
            Self.document([Self.split("{1,2}"), Self.bytes]), Self.document([Self.split(""), Self.bytes], ignoresMerges: true),
            Self.document([Self.split("", ["behavior": "MergedWithNext"]), Self.bytes]),
            Self.document([Self.split("")]), Self.document([["type": "Whitespace"], Self.bytes]), ["pre_tokenizer": nil],
        ]
        for document in near { #expect(GGUFPreTokenizer.of(document) == nil, "\(document.text())") }
    }

    /// The model that ships with the program, and what the golden suite's tokenizers are.
    @Test func `the golden tokenizer is cut as Llama 3 is, and merges what is a token already`() throws {
        let document = try InputFile.json(GoldenSuite.testsFolder + "/Golden/tokenizer/bytebpe_tokenizer.json")
        #expect(GGUFPreTokenizer.of(document)?.name == "smaug-bpe")
    }

    @Test(arguments: GGUFPreTokenizer.known.map(\.name))
    func `a name gives the way back`(name: String) throws {
        let pre = try #require(GGUFPreTokenizer.named(name))
        #expect(GGUFPreTokenizer.of(["pre_tokenizer": pre.json, "model": ["ignore_merges": .bool(pre.ignoresMerges)]]) == pre)
    }
}
