import Compression
import HuggingFace
import LinearAlgebra
import Models
import Quantization
import Rotation
import Support
import TensorCore
import TestSupport
import Testing

@testable import Exports

/// Folders whose down projections read rotated values, as others are told of it.
@Suite struct TransformExportTests {
    private let model: ExportedModel

    init() throws { model = try ExportedModel() }

    /// Makes the model one of this width, packed, that does this at run time.
    private func replace(
        width: Int = 96, _ execution: Execution, bits: Int = 4, symmetric: Bool = true, leaving left: String? = nil
    ) throws {
        var config = try HFConfig(model.file("model/config.json"))
        config.json["intermediate_size"] = .integer(width)
        var random = RandomStream(seed: 9, stream: 3)
        let sources = try ModelRegistry.model(config).architecture.parameters().named.map { name, spec in
            let values = Tensor(normal: spec.shape, from: &random)
            return TensorSource(name, spec.shape.count == 1 ? Tensor(values.elements.map(abs), spec.shape) : values)
        }
        try AtomicFile.write(config.text, to: model.file("model/config.json"))
        try Checkpoint.write(sources, to: model.file("model"))
        let source = try ModelFolder(model.file("model"))
        let spec = QuantizerSpec(bits: bits, symmetric: symmetric, granularity: .channel)
        let linears = source.architecture.linears.map(\.name).filter { $0 != left }
        let packed = try source.parameters().mapSpecs { name, parameter, value -> CompressedValue in
            linears.contains(String(name.dropLast(".weight".count)))
                ? .integer(WeightQuantizer(spec).quantized(value)) : .dense(StoredTensor(value))
        }
        try FolderPacking(integers: Dictionary(uniqueKeysWithValues: linears.map { ($0, spec) }), execution: execution)
            .write(packed, from: source, as: .f32, to: model.file("packed"))
        try removeTree(model.file("model"))
        try renameDurably(model.file("packed"), to: model.file("model"))
    }

    private func execution(_ bits: Int = 16, symmetric: Bool = false, perHead: Bool = false, r4: Bool = true) -> Execution {
        var execution = Execution.plain
        (execution.activationBits, execution.activationSymmetric, execution.r4) = (bits, symmetric, r4)
        execution.activationPerHead = perHead || bits == 16
        return execution
    }

    private func logits(_ name: String) throws -> [Float] {
        let opened = try CompressedFolder(model.file(name))
        let network = try CompressedModel(reading: opened).network(opened.folder.description.model(positions: 16))
        return network.outputs([(0..<16).map { Int32($0 * 5 + 2) }], from: nil).elements
    }

    private func scheme(_ name: String) throws -> JSONObject {
        let config = try HFConfig(model.file("\(name)/config.json"))
        #expect(config.json["sq_train"] == nil && config.json["model_type"]?.string == "llama")
        let packing = config.json["quantization_config"]
        #expect(packing?["quant_method"]?.string == "compressed-tensors")
        return try #require(packing?["transform_config"]?["config_groups"]?["R4"]?.object)
    }

    @Test(
        arguments: [
            (96, "random-hadamard", .null), (128, "hadamard", .null), (188, "hadamard", 4), (1068, "random-hadamard", 12),
        ] as [(Int, String, JSONValue)]) func `R4 leaves as transform_config, and comes back as the same network`(
            _ width: Int, _ type: String, _ block: JSONValue
        ) throws
    {
        try replace(width: width, execution())
        let report = try model.export("compressed-tensors-transforms", to: "out")
        let scheme = try scheme("out")
        #expect(scheme["type"]?.string == type && scheme["head_dim"] == block && scheme["randomize"] == .bool(false))
        let entry = try #require(scheme["apply"]?.array?.first)
        #expect(entry["targets"] == ["re:.*down_proj$"] && entry["location"]?.string == "input")
        let opened = try CompressedFolder(model.file("out"))
        #expect(opened.execution == execution() && opened.isShared)
        let stored = opened.folder.checkpoint.names.filter { $0.contains("R4") }
        #expect(stored == (type == "hadamard" ? [] : ["model.layers.0.mlp.down_proj.R4_input.weight"]))
        #expect(try logits("out") == logits("model"))
        // People are told who runs it, and how.
        #expect(report.notes.contains { $0.contains("transformers 5.24") && $0.contains("README.md") })
        #expect(report.notes.contains { $0.contains("vLLM") })
        let card = String(decoding: try InputFile.contents(of: model.file("out/README.md"), limit: 1 << 16), as: UTF8.self)
        #expect(card.contains("apply_transform_config(model, rotations)"))
        // What has left leaves again as it is.
        try removeTree(model.file("model"))
        try renameDurably(model.file("out"), to: model.file("model"))
        try model.export("compressed-tensors-transforms", to: "again")
        #expect(try CompressedFolder(model.file("again")).folder.checkpoint.names == opened.folder.checkpoint.names)
        #expect(try logits("again") == logits("model"))
    }

    @Test(arguments: [(4, false, 4), (8, true, 4), (8, false, 8)]) func `inputs that are rounded after it are said`(
        _ bits: Int, _ symmetric: Bool, _ weights: Int
    ) throws {
        let execution = execution(bits, symmetric: symmetric)
        try replace(execution, bits: weights)
        let report = try model.export("compressed-tensors-transforms", to: "out")
        let config = try HFConfig(model.file("out/config.json"))
        let group = try #require(config.json["quantization_config"]?["config_groups"]?["group_0"])
        #expect(group["format"]?.string == (weights == 8 ? "int-quantized" : "pack-quantized"))
        #expect(group["input_activations"]?["num_bits"]?.integer == bits)
        #expect(group["input_activations"]?["symmetric"] == .bool(symmetric))
        #expect(try CompressedFolder(model.file("out")).execution == execution)
        #expect(try logits("out") == logits("model"))
        #expect(report.notes.contains { $0.contains("does not support packed integers with rounded inputs") } == (weights < 8))
    }

    @Test func `floats leave without R4, as the same network`() throws {
        for symmetric in [true, false] {
            try replace(execution(), symmetric: symmetric)
            let report = try model.export("huggingface", to: "dense", overwrites: true)
            #expect(report.notes.contains { $0.contains("R4 is taken out") })
            let (expected, found) = (try logits("model"), try logits("dense"))
            let scale = expected.map(abs).max() ?? 0
            #expect(scale > 0 && zip(expected, found).allSatisfy { abs($0 - $1) < 1e-4 * scale })
            #expect(try CompressedFolder(model.file("dense")).isPlain)
        }
        // What rounds after R4 has no other place for it.
        try replace(execution(8))
        #expect(try model.refusal("huggingface")?.problem.contains("activations that are rounded") == true)
    }

    @Test func `rounded inputs alone need no transform_config`() throws {
        try replace(execution(4, r4: false))
        #expect(try model.refusal("compressed-tensors-transforms")?.problem.contains("use --format compressed-tensors") == true)
        try model.export("compressed-tensors", to: "out")
        let config = try HFConfig(model.file("out/config.json"))
        #expect(config.json["quantization_config"]?["transform_config"] == nil)
        #expect(try logits("out") == logits("model"))
    }

    @Test func `zero points have the rows that each reader wants, with R4 too`() throws {
        try replace(execution(), symmetric: false)
        try model.export("compressed-tensors-transforms", to: "short")
        try model.export("compressed-tensors-transforms-padded", to: "long")
        let name = "model.layers.0.mlp.up_proj.weight_zero_point"
        let rows = try ["short", "long"].map { try CompressedFolder(model.file($0)).folder.checkpoint.info(name).shape[0] }
        #expect(rows == [12, 96])
        #expect(try logits("short") == logits("long"))
    }

    @Test func `what compressed-tensors cannot say is refused with what works`() throws {
        func problem(_ format: String = "compressed-tensors-transforms") throws -> String {
            let refusal = try model.refusal(format)
            #expect(refusal?.kind == .unfit && PathKind(model.file("out")) == .absent)
            return refusal?.problem ?? ""
        }
        try replace(execution())
        #expect(try problem("compressed-tensors").contains("--format compressed-tensors-transforms"))
        var cache = execution()
        cache.keyBits = 4
        try replace(cache)
        #expect(try problem().contains("quantization.kv.bits=16"))
        var rotated = execution()
        rotated.r3 = true
        try replace(rotated)
        #expect(try problem().contains("R3"))
        try replace(execution(8, perHead: true))
        #expect(try problem().contains("quantization.activations.head_ranges=false"))
        var restricted = execution(4, symmetric: true)
        restricted.activationRange = .restricted
        try replace(restricted)
        #expect(try problem().contains("quantization.activations.symmetric_range=full"))
        var clipped = execution(8)
        clipped.clipRatios[.downInput] = 0.85
        try replace(clipped)
        #expect(try problem().contains("quantization.clip_ratios=none"))
        #expect(try problem("huggingface").contains("quantize weights alone"))
        try replace(execution(8), leaving: "model.layers.1.self_attn.v_proj")
        #expect(try problem().contains("model.layers.1.self_attn.v_proj"))
        // 564 = 4·141, of which compressed-tensors makes no matrix.
        try replace(width: 564, execution())
        #expect(try problem().contains("order 564"))
    }
}
