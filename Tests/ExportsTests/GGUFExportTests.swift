import Foundation
import GGUF
import HuggingFace
import Models
import Support
import TensorCore
import TestSupport
import Testing

@testable import Exports

@Suite struct GGUFExportTests {
    /// Eight tokens: as long as the shortest window.
    @Test(arguments: [
        ("llama_base_hf", "llama"), ("llama_tied_hf", "llama"), ("llama_tied_but_stored_hf", "llama"),
        ("llama_biased_hf", "llama"),
        ("llama_rope3_hf", "llama"), ("llama_linear_rope_hf", "llama"), ("mistral_sliding_hf", "llama"),
        ("mistral_wide_head_hf", "llama"), ("qwen2_hf", "qwen2"), ("qwen2_sliding_hf", "qwen2"), ("qwen3_hf", "qwen3"),
    ])
    func `a model that goes to GGUF and comes back computes the same numbers`(name: String, architecture: String) throws {
        let model = try ExportedModel(name)
        try model.export("gguf-f32", to: "a.gguf")
        let file = try GGUFFile(model.file("a.gguf"))
        #expect(file["general.architecture"] == .string(architecture))
        #expect(file.info("output.weight") != nil)
        #expect(file.tensors.allSatisfy { $0.encoding == .f32 })
        try model.import("a.gguf", to: "back")
        #expect(try model.logits("back").elements == model.logits("model").elements)
    }

    @Test func `rows of queries and keys go in turn from the two halves of their head, and those of values stay`() throws {
        let model = try ExportedModel()
        try model.export("gguf-f32", to: "a.gguf")
        let file = try GGUFFile(model.file("a.gguf"))
        let folder = try ModelFolder(model.file("model"))
        for (name, own, heads) in [("q", "attn_q", 4), ("k", "attn_k", 2), ("v", "attn_v", 0)] {
            let source = try folder.checkpoint.read("model.layers.1.self_attn.\(name)_proj.weight")
            let stored = try file.read("blk.1.\(own).weight")
            let d = try #require(folder.architecture.headDimension)
            #expect(source.rows >= d)
            for row in 0..<source.rows {
                let (head, i) = (row / d, row % d)
                let from = heads == 0 ? row : head * d + i % 2 * (d / 2) + i / 2
                #expect(stored.rows(row..<row + 1).elements == source.rows(from..<from + 1).elements, "\(name) \(row)")
            }
        }
    }

    @Test func `rows of a Qwen stay as they are`() throws {
        let model = try ExportedModel("qwen2_hf")
        try model.export("gguf-f32", to: "a.gguf")
        let source = try ModelFolder(model.file("model")).checkpoint.read("model.layers.0.self_attn.q_proj.weight")
        #expect(try GGUFFile(model.file("a.gguf")).read("blk.0.attn_q.weight").elements == source.elements)
    }

    @Test(arguments: ["f16", "bf16", "q8_0", "q4_0"])
    func `matrices are in the precision asked for, norms in float32, and come back as rounded`(precision: String) throws {
        let model = try ExportedModel()
        try model.export("gguf-" + precision, to: "a.gguf")
        let file = try GGUFFile(model.file("a.gguf"))
        let encoding = try #require(file.info("blk.0.ffn_up.weight")?.encoding)
        #expect(encoding.name.lowercased() == precision)
        #expect(file.info("token_embd.weight")?.encoding == (precision == "q4_0" ? .q8_0 : encoding))
        #expect(file.info("output_norm.weight")?.encoding == .f32)
        try model.import("a.gguf", to: "back")
        let name = "model.layers.0.mlp.up_proj.weight"
        let source = try ModelFolder(model.file("model")).checkpoint.read(name)
        #expect(try ModelFolder(model.file("back")).checkpoint.read(name).elements == encoding.rounded(source).elements)
    }

    @Test func `exact ternary blocks go as TQ2_0, any others are refused`() throws {
        let model = try ExportedModel("foreign", ternaryWidth: 256)
        try model.export("gguf-tq2_0", to: "a.gguf")
        #expect(try GGUFFile(model.file("a.gguf")).info("blk.0.attn_q.weight")?.encoding == .tq2_0)
        try model.import("a.gguf", to: "back")
        #expect(try model.logits("back").elements == model.logits("model").elements)
        // Known before anything is written: the error is of the model, and not of a file that was begun.
        let other = try ExportedModel("foreign", ternaryWidth: 256, damaged: true)
        let before = try entries(ofFolder: other.folder.path)
        let error = try #require(throws: ExportError.self) { try other.export("gguf-tq2_0", to: "a.gguf") }
        #expect(error.kind == .unfit && error.place.hasSuffix("/model: tensor model.layers.1.mlp.down_proj.weight"), "\(error)")
        #expect(try entries(ofFolder: other.folder.path) == before)
    }

    @Test(arguments: [
        (ExpectedResult(linears: .floats), false), (ExpectedResult(linears: .ternary), false),
        (ExpectedResult(linears: .integers, integerBits: 3), false), (ExpectedResult(linears: .integers, integerBits: 2), true),
        (ExpectedResult(linears: .integers), true),
    ])
    func `what no job leaves is refused as TQ2_0 before its work`(_ result: ExpectedResult, _ mayFit: Bool) {
        #expect((GGUFModelWriter(.tq2_0).obstacle(result) == nil) == mayFit)
        #expect(GGUFModelWriter(.q4_0).obstacle(result) == nil)
    }

    @Test func `the tokenizer goes along: tokens, merges, special ones, template`() throws {
        let model = try ExportedModel()
        try model.export("gguf-q8_0", to: "a.gguf")
        let file = try GGUFFile(model.file("a.gguf"))
        #expect(file["tokenizer.ggml.model"] == .string("gpt2") && file["tokenizer.ggml.pre"] == .string("gpt-2"))
        let tokens = try #require(file["tokenizer.ggml.tokens"]?.strings)
        #expect(tokens.count == 256 && Array(tokens[0...9]) == ["<s>", "</s>", "a", "b", "c", "ab", "bc", "Ġ", "[PAD8]", "Ġa"])
        #expect(file["tokenizer.ggml.token_type"]?.integers?.prefix(10) == [3, 3, 1, 1, 1, 1, 1, 1, 5, 1])
        #expect(file["tokenizer.ggml.merges"] == .strings(["b c", "a b", "Ġ a"]))
        #expect(file["tokenizer.ggml.bos_token_id"] == .uint32(0) && file["tokenizer.ggml.eos_token_id"] == .uint32(1))
        #expect(file["tokenizer.ggml.add_bos_token"] == .bool(false))
        #expect(file["tokenizer.chat_template"] == .string("{{ messages }}"))
        try model.import("a.gguf", to: "back")
        let (before, after) = (try Tokenizer(folder: model.file("model")), try Tokenizer(folder: model.file("back")))
        let text = "abc a ab<s> bcc"
        #expect(before.encode(text).ids == after.encode(text).ids && !before.encode(text).ids.isEmpty)
        #expect((before.bosToken, before.eosToken) == (after.bosToken, after.eosToken))
    }

    @Test func `three tokens that end a text go along and come back, more are named`() throws {
        let model = try ExportedModel()
        try AtomicFile.write(#"{"eos_token_id": [6, 1, 5, 4]}"#, to: model.file("model/generation_config.json"))
        let report = try model.export("gguf-f16", to: "a.gguf")
        #expect(report.notes.contains { $0.hasPrefix("llama.cpp does not stop at bc") }, "\(report.notes)")
        let file = try GGUFFile(model.file("a.gguf"))
        #expect(file["tokenizer.ggml.eom_token_id"] == .uint32(4) && file["tokenizer.ggml.eot_token_id"] == .uint32(5))
        try model.import("a.gguf", to: "back")
        let config = try HFConfig(model.file("back/config.json"))
        #expect(config.value("eos_token_id")?.integers == [1, 4, 5])
        let tokenizer = try Tokenizer(folder: model.file("back"))
        #expect(try tokenizer.endTokens(ofFolder: model.file("back"), config, vocabulary: 256) == [1, 4, 5])
    }

    /// A scale in half precision does not hold less than 6e-8.
    @Test(arguments: ["gguf-q8_0", "gguf-q4_0"]) func `blocks that become 0 are named`(format: String) throws {
        let model = try ExportedModel()
        #expect(try model.export(format, to: "a.gguf").notes.allSatisfy { !$0.contains("too small") })
        let parameters = try ModelFolder(model.file("model")).parameters()
        let sources = parameters.named.map { name, value in
            var tensor = value
            if name == "model.layers.0.mlp.up_proj.weight" { tensor.scale(by: 1e-9) }
            return TensorSource(name, tensor)
        }
        try Checkpoint.write(sources, to: model.file("model"))
        let report = try model.export(format, to: "b.gguf")
        #expect(report.notes.contains { $0.contains("too small for") }, "\(report.notes)")
    }

    @Test func `the file says which program made it of what`() throws {
        let model = try ExportedModel()
        try model.export("gguf-q8_0", to: "a.gguf")
        let file = try GGUFFile(model.file("a.gguf"))
        #expect(file["sq_train.program"]?.string?.hasPrefix("sq-train ") == true)
        #expect(try file["sq_train.source_sha256"]?.string == Checkpoint(model.file("model")).digest())
        #expect(file["sq_train.source_provenance"] == nil)
        #expect(file["general.quantization_version"] == .uint32(2) && file["general.file_type"] == .uint32(7))
    }

    @Test func `a window shorter than the context becomes the file's context`() throws {
        let model = try ExportedModel("mistral_sliding_hf")
        let report = try model.export("gguf-f32", to: "a.gguf")
        let window = try #require(ModelFolder(model.file("model")).architecture.blocks[0].heads?.window)
        #expect(try GGUFFile(model.file("a.gguf"))["llama.context_length"] == .uint32(UInt32(window)))
        #expect(report.notes.contains { $0.contains("sliding window") })
    }

    /// Replaces the model's rotary parameters.
    private func rotary(_ parameters: JSONValue, of model: ExportedModel) throws {
        let path = model.file("model/config.json")
        guard var config = try InputFile.json(path).object else { return }
        config["rope_parameters"] = parameters
        try AtomicFile.write(JSONValue.object(config).text(), to: path)
    }

    @Test func `a linear scaling by 1 is none`() throws {
        let model = try ExportedModel()
        try rotary(["rope_theta": 10000.0, "rope_type": "linear", "factor": 1.0], of: model)
        try model.export("gguf-f32", to: "a.gguf")
        #expect(try GGUFFile(model.file("a.gguf"))["llama.rope.scaling.type"] == nil)
    }

    // MARK: - Refusals

    @Test func `factors of rotary frequencies are refused where llama cpp does not read them`() throws {
        let model = try ExportedModel("qwen2_hf")
        try rotary(
            [
                "rope_theta": 10000.0, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            ], of: model)
        #expect(try model.refusal("gguf-f32")?.description.contains("qwen2 has no factors of rotary frequencies") == true)
    }

    @Test(arguments: [
        ("opt_hf", "gguf-f16", "llama.cpp runs no network of this form"), ("opt_hf", "gguf-f16", "use --format huggingface"),
        ("mistral_wide_head_hf", "gguf-q8_0", "rows of 60 do not divide into the blocks of 32"),
        ("mistral_wide_head_hf", "gguf-q4_0", "use --format gguf-f16"),
        ("llama_base_hf", "gguf-tq2_0", "rows of 64 do not divide into the blocks of 256"),
        ("llama_base_hf", "gguf-tq2_0", "use --format gguf-q8_0"),
    ])
    func `what no block or program can hold is refused with what works`(name: String, format: String, reason: String) throws {
        let model = try ExportedModel(name)
        let refusal = try #require(try model.refusal(format))
        #expect(refusal.exitCode == .configuration && refusal.description.contains(reason), "\(refusal)")
        #expect(PathKind(model.file("out")) == .absent)
    }

    @Test(arguments: [
        (#""use_regex": true"#, #""use_regex": false"#, "splits text as no pre-tokenizer"),
        (#""add_prefix_space": false"#, #""add_prefix_space": true"#, "splits text as no pre-tokenizer"),
        (#""normalizer": null"#, #""normalizer": {"type": "Prepend", "prepend": "x"}"#, "changes text before it is split"),
        (
            #"{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}"#,
            #"{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"}"#, "splits text as no pre-tokenizer"
        ),
        (#""type": "BPE","#, #""type": "BPE", "byte_fallback": true,"#, "SentencePiece"),
        (#""type": "BPE","#, #""type": "BPE", "ignore_merges": true,"#, "splits text as no pre-tokenizer"),
        (#""b": 3"#, #""b": 3, "z": 300"#, "has 301 tokens, but the model has rows for 256"),
        (#""b": 3"#, #""b": 3, "[PAD8]": 10"#, "named like"),
    ])
    func `a tokenizer that llama.cpp has no like of is refused`(part: String, replacement: String, reason: String) throws {
        let model = try ExportedModel(tokenizer: ExportedModel.tokenizer.replacing(part, with: replacement))
        let refusal = try #require(try model.refusal("gguf-f16"))
        #expect(refusal.description.contains(reason), "\(refusal)")
    }

    @Test func `a folder without a tokenizer is refused`() throws {
        let model = try ExportedModel()
        try removeTree(model.file("model/tokenizer.json"))
        #expect(try model.refusal("gguf-f16")?.description.contains("has no tokenizer.json") == true)
    }

    @Test func `a file that is there stays, unless it is to be replaced`() throws {
        let model = try ExportedModel()
        try AtomicFile.write("mine", to: model.file("out"))
        #expect(try model.refusal("gguf-f16")?.description.contains("--overwrite") == true)
        #expect(try model.refusal("gguf-f16", overwrites: true)?.description.contains("is not a GGUF file") == true)
        #expect(try InputFile.contents(of: model.file("out"), limit: 100) == Array("mine".utf8))
        try AtomicFile.write("", to: model.file("out"))
        #expect(try model.refusal("gguf-f16", overwrites: true) == nil)
        #expect(try model.refusal("gguf-q8_0", overwrites: true) == nil)
        #expect(try GGUFFile(model.file("out")).tensors.count > 10)
        #expect(try model.refusal("gguf-f16", to: "model", overwrites: true) != nil)
        #expect(try model.refusal("gguf-f16", to: "absent/out")?.description.contains("there is no folder") == true)
    }

    @Test func `no file is replaced of what is read`() throws {
        let model = try ExportedModel()
        let weights = model.file("model/model.safetensors")
        let bytes = try InputFile(weights).sha256()
        #expect(
            try model.refusal("gguf-f32", to: "model/model.safetensors", overwrites: true)?.description.contains("is read")
                == true)
        #expect(try InputFile(weights).sha256() == bytes)
        #expect(try model.refusal("gguf-f32", to: "model/new.gguf")?.description.contains("is within") == true)
        #expect(try model.refusal("gguf-f32", to: "new.gguf") == nil)
        let file = model.file("new.gguf")
        let folder = try GGUFImport.folder(of: file)
        #expect(throws: ExportError.self) {
            try ModelWriters.named("gguf-q4_0").write(ExportRequest(source: folder, out: file, overwrites: true))
        }
        #expect(try GGUFFile(file).info("output.weight")?.encoding == .f32)
    }

    @Test func `damaged files are imported or refused`() throws {
        let model = try ExportedModel()
        try model.export("gguf-q4_0", to: "a.gguf")
        let mutations = Mutations(seed: 80, count: 300)
        let original = try InputFile.contents(of: model.file("a.gguf"), limit: 1 << 24)
        let refused = try mutations.refusals(of: original, at: model.file("mutant")) { path in
            let read = try GGUFModel(path)
            _ = try GGUFTokenizer(read.file)
        }
        #expect(refused > mutations.count / 4)
    }
}
