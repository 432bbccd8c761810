import GGUF
import HuggingFace
import Models
import Support
import TestSupport
import Testing

@testable import Exports

/// Tokenizers of GGUF files that this program has not written.
@Suite struct GGUFTokenizerTests {
    private let model: ExportedModel

    init() throws {
        model = try ExportedModel()
        try model.export("gguf-f32", to: "a.gguf")
    }

    /// Writes b.gguf, the model's file with other values of `tokenizer.ggml`, and imports it; nil removes a value.
    private func imported(_ changes: [String: GGUFValue?]) throws -> Tokenizer {
        let file = try GGUFFile(model.file("a.gguf"))
        let prefix = "tokenizer.ggml."
        let kept = file.values.filter { value in !changes.keys.contains { prefix + $0 == value.key } }
        let new = changes.compactMap { key, value in value.map { (key: prefix + key, value: $0) } }
        let tensors = file.tensors.map { info in
            GGUFTensorSource(info.name, info.encoding, info.shape) { try file.read(info.name) }
        }
        try GGUFFile.write(kept + new, tensors, to: model.file("b.gguf"))
        try model.import("b.gguf", to: "back")
        return try Tokenizer(folder: model.file("back"))
    }

    private func ends() throws -> JSONValue? { try HFConfig(model.file("back/config.json")).value("eos_token_id") }

    @Test func `the end of a turn, or of a message, ends a text where nothing else does`() throws {
        let turn = try imported(["eos_token_id": nil, "eot_token_id": .uint32(5), "eom_token_id": .uint32(4)])
        #expect(turn.eosToken == 5)
        #expect(try ends()?.integers == [5, 4])
        try removeTree(model.file("back"))
        #expect(throws: FileError.self) {
            try imported(["eos_token_id": nil, "eot_token_id": .uint32(5), "add_eos_token": .bool(true)])
        }
    }

    @Test func `a folder that names ends of texts in generation_config alone leaves with the first as the end`() throws {
        try AtomicFile.write("{}", to: model.file("model/tokenizer_config.json"))
        let path = model.file("model/config.json")
        var config = try HFConfig(path)
        config.json["eos_token_id"] = nil
        try AtomicFile.write(config.text, to: path)
        try AtomicFile.write(#"{"eos_token_id": [6, 5]}"#, to: model.file("model/generation_config.json"))
        try model.export("gguf-f32", to: "c.gguf")
        let file = try GGUFFile(model.file("c.gguf"))
        #expect(file["tokenizer.ggml.eos_token_id"] == .uint32(5) && file["tokenizer.ggml.eom_token_id"] == .uint32(6))
    }

    @Test func `one token may begin and end texts, and be put on one side alone`() throws {
        for (begins, ends) in [(false, true), (true, false), (true, true)] {
            let tokenizer = try imported([
                "bos_token_id": .uint32(1), "add_bos_token": .bool(begins), "add_eos_token": .bool(ends),
            ])
            let expected: [Int32] = (begins ? [1] : []) + [2] + (ends ? [1] : [])
            #expect(tokenizer.encode("a", addSpecialTokens: true) == expected)
            try removeTree(model.file("back"))
        }
    }

    @Test func `what does not fit is refused as the file's`() throws {
        let file = try GGUFFile(model.file("a.gguf"))
        let tokens = try #require(file["tokenizer.ggml.tokens"]?.strings)
        let types = try #require(file["tokenizer.ggml.token_type"]?.integers)
        let short: [String: GGUFValue] = [
            "tokens": .strings(Array(tokens.dropLast())), "token_type": .integers(types.dropLast().map(Int32.init)),
        ]
        let long: [String: GGUFValue] = [
            "tokens": .strings(tokens + ["more"]), "token_type": .integers(types.map(Int32.init) + [1]),
        ]
        for (change, text) in [
            (short, "b.gguf: tokenizer.ggml.tokens: has 255 tokens for 256 rows"),
            (long, "b.gguf: tokenizer.ggml.tokens: has 257 tokens for 256 rows"),
            (["merges": .strings(["b c", "a z"])], #"b.gguf: tokenizer.ggml: model.merges[1]: "z" is not in the vocabulary"#),
        ] {
            let error = #expect(throws: FileError.self) { try imported(change.mapValues { Optional($0) }) }
            #expect(error?.exitCode == .data && error?.description.contains(text) == true, "\(error?.description ?? "")")
            #expect(PathKind(model.file("back")) == .absent)
        }
    }
}
