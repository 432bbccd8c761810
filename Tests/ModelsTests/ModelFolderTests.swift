import Glibc
import HuggingFace
import Models
import Support
import TensorCore
import TestSupport
import Testing

/// What a model folder is taken for, and what is written from it.
@Suite struct ModelFolderTests {
    let folder: TemporaryFolder
    init() throws { folder = try TemporaryFolder() }

    private func rewritten(_ source: ModelFolder) throws -> JSONValue {
        try source.write(source.parameters(), as: .f32, to: folder.file("out"))
        return try InputFile.json(folder.file("out/config.json"))
    }

    @Test func `a head stored beside a tied embedding is used where it differs, and written untied`() throws {
        try TinyModel.write(to: folder.path, ["tie_word_embeddings": true])
        let own = try ModelFolder(folder.path)
        #expect(!own.architecture.tiesHead && own.warnings.count == 1)
        #expect(own.warnings.first?.contains("the stored head is used") == true)
        let (head, stored) = (
            try own.parameters().logitWeight, TinyModel.parameters(TinyModel.configuration()).logitWeight
        )
        #expect(maxDifference(head, stored) == 0)
        #expect(try rewritten(own)["tie_word_embeddings"] == false)
    }

    @Test func `a head that is the embedding once more stays tied`() throws {
        try TinyModel.write(to: folder.path, ["tie_word_embeddings": true]) { sources in
            let embedding = TinyModel.parameters(TinyModel.configuration()).entry["model.embed_tokens.weight"]
            sources = sources.map { $0.name == "lm_head.weight" ? TensorSource($0.name, embedding ?? Tensor(zeros: [1])) : $0 }
        }
        let tied = try ModelFolder(folder.path)
        #expect(tied.architecture.tiesHead && tied.warnings.isEmpty)
        #expect(try rewritten(tied)["tie_word_embeddings"] == true)
        try TinyModel.write(to: folder.path, ["tie_word_embeddings": true]) { $0.removeAll { $0.name == "lm_head.weight" } }
        #expect(try ModelFolder(folder.path).architecture.tiesHead)
    }

    @Test func `a head of integers that nothing says the meaning of is refused`() throws {
        try TinyModel.write(to: folder.path, ["tie_word_embeddings": true]) { sources in
            let head = TinyModel.parameters(TinyModel.configuration()).logitWeight
            sources = sources.map {
                guard $0.name == "lm_head.weight" else { return $0 }
                return TensorSource($0.name, integers: [Int](repeating: 37, count: head.count), head.shape, as: .i8)
            }
        }
        #expect { try ModelFolder(folder.path) } throws: {
            ($0 as? FileError)?.kind == .malformed && "\($0)".contains("lm_head.weight: holds I8 numbers")
        }
    }

    @Test func `of two bases of the angles the one in the dictionary is used, and said`() throws {
        for key in ["rope_parameters", "rope_scaling"] {
            let inside: JSONValue = ["rope_type": "default", "rope_theta": 2e5]
            for beside in [5e5, 2e5] {
                try TinyModel.write(to: folder.path, [key: inside, "rope_theta": .double(beside)])
                let source = try ModelFolder(folder.path)
                #expect(source.warnings.count == (beside == 5e5 ? 1 : 0), "\(source.warnings)")
                #expect(source.warnings.allSatisfy { $0.contains("200000") && $0.contains("500000") && $0.contains(key) })
            }
        }
    }

    @Test func `what is no longer true is neither kept nor written, and said`() throws {
        let quantization: JSONValue = ["quant_method": "fp8", "activation_scheme": "dynamic"]
        try TinyModel.write(
            to: folder.path, ["quantization_config": quantization, "auto_map": ["AutoModelForCausalLM": "modeling.Mine"]])
        let source = try ModelFolder(folder.path)
        #expect(source.warnings.count == 2)
        let config = try rewritten(source)
        #expect(config["quantization_config"] == nil && config["auto_map"] == nil && config["hidden_size"] == 16)
    }

    @Test(arguments: [
        "weight_scale", "weight_packed", "weight_zero_point", "weight_scale_inv", "qweight", "qzeros", "SCB", "scales",
        "input_scale",
    ])
    func `weights that are already quantized are refused`(suffix: String) throws {
        for declared in [false, true] {
            try TinyModel.write(to: folder.path, declared ? ["quantization_config": ["quant_method": "mine"]] : [:]) {
                sources in
                sources.append(TensorSource("model.layers.0.mlp.up_proj." + suffix, Tensor(zeros: [24, 1])))
            }
            #expect { try ModelFolder(folder.path) } throws: { error in
                (error as? FileError)?.exitCode == .data
                    && "\(error)".contains("already quantized (" + (declared ? "mine)" : ""))
                    && "\(error)".contains("give the folder it was made from")
            }
        }
    }

    @Test(arguments: [ElementType.i8, .u8, .f8e4m3, .i32])
    func `weights of a type that needs scales are refused`(type: ElementType) throws {
        try TinyModel.write(to: folder.path) { sources in
            sources = sources.map { source in
                guard source.name == "model.layers.0.mlp.up_proj.weight" else { return source }
                return TensorSource(source.name, type, source.shape) {
                    .bytes([UInt8](repeating: 0, count: 24 * 16 * type.size))
                }
            }
        }
        #expect { try ModelFolder(folder.path) } throws: { "\($0)".contains("already quantized (\(type.rawValue))") }
    }

    @Test func `a snapshot of a Hugging Face cache is read through its links`() throws {
        for name in ["blobs", "snapshots", "snapshots/abc"] { try #require(mkdir(folder.file(name), 0o755) == 0) }
        try TinyModel.write(to: folder.file("blobs"))
        let shard = try Checkpoint(folder.file("blobs")).names
        try #require(rename(folder.file("blobs/model.safetensors"), folder.file("blobs/1f")) == 0)
        try #require(rename(folder.file("blobs/config.json"), folder.file("blobs/2e")) == 0)
        try #require(symlink("../../blobs/2e", folder.file("snapshots/abc/config.json")) == 0)
        try #require(symlink("../../blobs/1f", folder.file("snapshots/abc/a.safetensors")) == 0)
        var map = JSONObject()
        for name in shard { map[name] = "a.safetensors" }
        let index: JSONValue = ["weight_map": .object(map)]
        try AtomicFile.write(index.text(), to: folder.file("snapshots/abc/model.safetensors.index.json"))
        #expect(try ModelFolder(folder.file("snapshots/abc")).checkpoint.names == shard)
        // Through a link to the snapshot, too.
        try #require(symlink("snapshots/abc", folder.file("latest")) == 0)
        #expect(try ModelFolder(folder.file("latest")).checkpoint.names == shard)
        // Elsewhere than to the store of that cache, a shard must not lead.
        try #require(rename(folder.file("blobs/1f"), folder.file("elsewhere")) == 0)
        try #require(symlink("../elsewhere", folder.file("blobs/1f")) == 0)
        #expect { try ModelFolder(folder.file("latest")) } throws: { "\($0)".contains("leaves the folder") }
    }

    @Test func `rows of padding, all zero, are read`() throws {
        try TinyModel.write(to: folder.path, ["vocab_size": 40]) { sources in
            var random = RandomStream(seed: 5)
            let table = Tensor(normal: [32, 16], from: &random)
            let padded = Tensor((0..<40 * 16).map { $0 < 32 * 16 ? table[flat: $0] : 0 }, [40, 16])
            sources = sources.map { $0.shape == [32, 16] ? TensorSource($0.name, padded) : $0 }
        }
        #expect(try ModelFolder(folder.path).parameters().logitWeight.rows == 40)
    }
}
