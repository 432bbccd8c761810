import HuggingFace
import Support
import TestSupport

/// A tokenizer.json of a few tokens, to be bent into other shapes.
struct SmallTokenizer {
    var normalizer = "null"
    var preTokenizer = #"{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}"#
    var postProcessor = "null"
    var decoder = #"{"type": "ByteLevel"}"#
    var addedTokens = #"[{"id": 6, "content": "<s>", "special": true}]"#
    var vocabulary = #"{"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4, "Ġ": 5}"#
    var merges = #"["b c", "a b"]"#
    var options = ""

    var json: String {
        """
        {"version": "1.0", "added_tokens": \(addedTokens), "normalizer": \(normalizer), "pre_tokenizer": \(preTokenizer),
         "post_processor": \(postProcessor), "decoder": \(decoder),
         "model": {"type": "BPE", \(options)"vocab": \(vocabulary), "merges": \(merges)}}
        """
    }

    /// Loads the document through a file, as a user does.
    func load() throws -> Tokenizer { try Self.load(json) }

    static func load(_ json: String) throws -> Tokenizer {
        let folder = try TemporaryFolder()
        let path = folder.file("tokenizer.json")
        try AtomicFile.write(json, to: path)
        return try Tokenizer(contentsOf: path)
    }
}
