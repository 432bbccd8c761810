internal import HuggingFace
internal import Support

/// How llama.cpp cuts a text before tokens are merged, by the name in `tokenizer.ggml.pre`: those that equal a
/// `pre_tokenizer` of tokenizer.json.
///
/// Source: the expressions in `src/llama-vocab.cpp` of ggml-org/llama.cpp. Its `(?:'[sS]|…)` is `(?i:'s|…)` but for U+017F,
/// a long s after an apostrophe.
struct GGUFPreTokenizer: Equatable, Sendable {
    let name: String
    /// As tokenizer.json has them.
    let steps: [JSONValue]
    /// Whether a piece that is a token as it stands is not merged.
    let ignoresMerges: Bool
    /// Whether llama.cpp puts bos in front of a text where the file does not specify it.
    var addsBos = false

    static let known = [
        GGUFPreTokenizer(name: "gpt-2", steps: [byteLevel(usesPattern: true)], ignoresMerges: false),
        GGUFPreTokenizer(
            name: "smollm", steps: [["type": "Digits", "individual_digits": true], byteLevel(usesPattern: true)],
            ignoresMerges: false),
        GGUFPreTokenizer(
            name: "llama-bpe", steps: [split(digits: "{1,3}"), byteLevel(usesPattern: false)], ignoresMerges: true,
            addsBos: true),
        // The pattern of llama-bpe without its other habit.
        GGUFPreTokenizer(
            name: "smaug-bpe", steps: [split(digits: "{1,3}"), byteLevel(usesPattern: false)], ignoresMerges: false),
        GGUFPreTokenizer(name: "qwen2", steps: [split(digits: ""), byteLevel(usesPattern: false)], ignoresMerges: false),
    ]

    private static func byteLevel(usesPattern: Bool) -> JSONValue {
        ["type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": .bool(usesPattern)]
    }

    private static func split(digits: String) -> JSONValue {
        let regex =
            #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"# + digits
            + #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
        return ["type": "Split", "pattern": ["Regex": .string(regex)], "behavior": "Isolated", "invert": false]
    }

    /// The `pre_tokenizer` of a tokenizer.json.
    var json: JSONValue {
        steps.count == 1 ? steps[0] : ["type": "Sequence", "pretokenizers": .array(steps)]
    }

    /// The one that does what a tokenizer.json does; nil where llama.cpp has none.
    static func of(_ document: JSONValue) -> GGUFPreTokenizer? {
        guard let section = document["pre_tokenizer"] else { return nil }
        let steps = (section["pretokenizers"]?.array ?? [section]).map(meaning)
        let ignoresMerges = document["model"]?["ignore_merges"]?.bool ?? false
        return known.first { $0.steps.map(meaning) == steps && $0.ignoresMerges == ignoresMerges }
    }

    static func named(_ name: String) -> GGUFPreTokenizer? { known.first { $0.name == name } }

    /// What a step says that changes pieces, defaults filled in.
    private static func meaning(_ step: JSONValue) -> [String: JSONValue] {
        var meaning: [String: JSONValue] = ["type": step["type"] ?? .null]
        switch step["type"]?.string {
        case "ByteLevel":
            meaning["add_prefix_space"] = step["add_prefix_space"] ?? true
            meaning["use_regex"] = step["use_regex"] ?? true
        case "Digits": meaning["individual_digits"] = step["individual_digits"] ?? false
        case "Split":
            meaning["pattern"] = step["pattern"]?["Regex"] ?? .null
            // Pieces between the matches of a pattern that matches everything are the matches: both spellings are in use.
            let removes = step["behavior"]?.string == "Removed" && step["invert"]?.bool == true
            meaning["behavior"] = removes ? "Isolated" : step["behavior"] ?? .null
            meaning["invert"] = removes ? false : step["invert"] ?? false
        default: meaning["unknown"] = step
        }
        return meaning
    }
}
