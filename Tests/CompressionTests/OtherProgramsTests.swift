import EmbeddedModel
import HuggingFace
import Models
import Quantization
import Support
import TensorCore
import TestSupport
import Testing

@testable import Compression

/// Folders of other programs in compressed-tensors: what they may say, and hold, that this program does not run.
@Suite struct OtherProgramsTests {
    private let folder: TemporaryFolder
    private let source: ModelFolder
    private let linear = "model.layers.1.mlp.up_proj"

    init() throws {
        folder = try TemporaryFolder()
        source = try ModelFolder(EmbeddedModel.path)
    }

    private static let spec = QuantizerSpec(bits: 8, symmetric: true, granularity: .channel)

    /// Writes linears, and the embedding where asked, as integers, and changes what the folder says and holds.
    private func write(
        embedding: Bool = false, execution: Execution = .plain, _ change: (inout JSONObject) throws -> Void = { _ in },
        tensors: (inout [TensorSource]) throws -> Void = { _ in }
    ) throws {
        let packed = try source.parameters().mapSpecs { _, spec, value -> CompressedValue in
            guard spec.ports != nil || (embedding && spec.role == .embedding) else { return .dense(StoredTensor(value)) }
            return .integer(WeightQuantizer(Self.spec).quantized(value))
        }
        let names = source.architecture.linears.map { ($0.name, Self.spec) }
        let path = folder.file("model")
        try FolderPacking(
            integers: Dictionary(uniqueKeysWithValues: names), embedding: embedding ? Self.spec : nil, execution: execution
        ).write(packed, from: source, as: .f32, to: path)
        var config = try HFConfig(path + "/config.json")
        config.json["sq_train"] = nil
        var packing = try #require(config.json["quantization_config"]?.object)
        try change(&packing)
        config.json["quantization_config"] = .object(packing)
        try AtomicFile.write(config.text, to: path + "/config.json")
        let checkpoint = try Checkpoint(path)
        var sources = try checkpoint.names.map { name in
            let (info, bytes) = (try checkpoint.info(name), try checkpoint.file(of: name).readBytes(name))
            return TensorSource(name, info.type, info.shape) { .bytes(bytes) }
        }
        try tensors(&sources)
        try Checkpoint.write(sources, to: path)
    }

    private func refusal() -> String {
        let error = #expect(throws: FileError.self) { try CompressedFolder(folder.file("model")) }
        #expect(error?.exitCode == .data)
        return error?.description ?? ""
    }

    @Test func `of the states of quantization those are read in which weights may be integers`() throws {
        let key = "quantization_status"
        for status in ["compressed", "frozen", nil] {
            try write { $0[key] = status.map { .string($0) } }
            let warnings = try CompressedFolder(folder.file("model")).folder.warnings
            #expect(warnings.count == (status == "compressed" ? 0 : 1))
            #expect(warnings.allSatisfy { $0.contains("\(key) is \(status ?? "missing")") }, "\(warnings)")
        }
        for status in ["initialized", "calibration", "decompressed", "frosty"] {
            try write { $0[key] = .string(status) }
            #expect(refusal().contains("\(key): '\(status)' means that the weights are not integers"))
        }
    }

    @Test func `floats beside a scale, which are still to be rounded, are refused by name`() throws {
        let original = try source.checkpoint.read(linear + ".weight")
        try write(
            { $0["quantization_status"] = "frozen" },
            tensors: { sources in
                sources.removeAll { ["weight_packed", "weight_shape"].map { "\(linear).\($0)" }.contains($0.name) }
                sources.append(TensorSource(linear + ".weight", original))
            })
        #expect(
            refusal().contains("tensor \(linear).weight: holds floats that must be rounded with \(linear).weight_scale"))
    }

    @Test func `words of compressed-tensors before mid-2026 are refused by name`() throws {
        try write { packing in
            let groups = try #require(packing["config_groups"]?.object), key = try #require(groups.keys.first)
            var group = try #require(groups[key]?.object), weights = try #require(group["weights"]?.object)
            weights["num_bits"] = 3
            group["weights"] = .object(weights)
            packing["config_groups"] = [key: .object(group)]
        } tensors: { sources in
            for (index, source) in sources.enumerated() where source.name.hasSuffix(".weight_packed") {
                let (rows, columns) = (source.shape[0], source.shape[1] * 4)
                let codes = (0..<rows * columns).map { Int16($0 % 7) }
                let bytes = PackedIntegersTests.wholeWords(codes, columns: columns, bits: 3)
                sources[index] = TensorSource(source.name, .i32, [rows, bytes.count / 4 / rows]) { .bytes(bytes) }
            }
        }
        let model = try CompressedFolder(folder.file("model")).folder
        let error = #expect(throws: FileError.self) { try model.parameters() }
        #expect(error?.description.contains("10 integers of 3 bits in each word, as compressed-tensors packed") == true)
    }

    @Test(arguments: [
        ("weight_g_idx", "in the order of activations"), ("input_scale", "a fixed range of the layer's inputs"),
        ("input_zero_point", "a fixed range"), ("output_scale", "a fixed range of what the layer computes"),
        ("weight_global_scale", "4-bit floats"),
    ]) func `a tensor beyond what is read is named, with the reason`(_ suffix: String, _ reason: String) throws {
        try write { _ in
        } tensors: {
            $0.append(TensorSource("\(linear).\(suffix)", Tensor(zeros: [1])))
        }
        let text = refusal()
        #expect(text.contains("tensor \(linear).\(suffix): ") && text.contains(reason), "\(text)")
    }

    @Test func `columns rounded in another order are read, groups in that order are not`() throws {
        func order(_ value: JSONValue) throws {
            try write { packing in
                var groups = try #require(packing["config_groups"]?.object)
                let key = try #require(groups.keys.first)
                var group = try #require(groups[key]?.object), weights = try #require(groups[key]?["weights"]?.object)
                weights["actorder"] = value
                group["weights"] = .object(weights)
                groups[key] = .object(group)
                packing["config_groups"] = .object(groups)
            }
        }
        for value in ["weight", "static", false, .null] as [JSONValue] {
            try order(value)
            _ = try CompressedFolder(folder.file("model"))
        }
        for value in ["group", true] as [JSONValue] {
            try order(value)
            #expect(refusal().contains("actorder: \(value.text()) makes groups in the order of activations"))
        }
    }

    /// The embedding's inputs are token ids, which nothing rounds: its group is another one than the linears'.
    @Test(arguments: ["Embedding", "re:.*embed_tokens$", "model.embed_tokens"])
    func `an embedding of integers is found by its class, by an expression and by its name`(_ target: String) throws {
        var execution = Execution.plain
        (execution.activationBits, execution.activationSymmetric, execution.activationPerHead) = (8, true, false)
        let weights: JSONValue = ["num_bits": 8, "type": "int", "symmetric": true, "strategy": "channel"]
        let inputs: JSONValue = ["num_bits": 8, "type": "int", "symmetric": true, "strategy": "token", "dynamic": true]
        try write(embedding: true, execution: execution) { packing in
            packing["config_groups"] = [
                "a": ["targets": ["Linear"], "weights": weights, "input_activations": inputs],
                "b": ["targets": [.string(target)], "weights": weights],
            ]
        }
        let opened = try CompressedFolder(folder.file("model"))
        #expect(opened.execution == execution && opened.folder.packed?.tables.count == 1)
        let name = "model.embed_tokens.weight"
        #expect(
            try opened.folder.parameters().entry.required(name).elements
                == WeightQuantizer(Self.spec).fakeQuantized(source.checkpoint.read(name)).elements)
    }

    /// transformers runs such a linear on floats as they are.
    @Test(arguments: [true, false])
    func `where one linear is ignored or in no group, others' inputs may not be rounded`(ignores: Bool) throws {
        let weights: JSONValue = ["num_bits": 8, "type": "int", "symmetric": true, "strategy": "channel"]
        let inputs: JSONValue = ["num_bits": 8, "type": "int", "symmetric": true, "strategy": "token", "dynamic": true]
        let targets: JSONValue = ignores ? ["Linear"] : ["re:.*(q|k|v|o|gate|down)_proj$", "re:.*0.mlp.up_proj$"]
        var execution = Execution.plain
        (execution.activationBits, execution.activationSymmetric, execution.activationPerHead) = (8, true, false)
        try write(execution: execution) { packing in
            packing["config_groups"] = ["a": ["targets": targets, "weights": weights, "input_activations": inputs]]
            if ignores { packing["ignore"] = ["lm_head", .string(linear)] }
        }
        let message = refusal()
        #expect(message.contains("otherwise than those of \(linear)"), "\(message)")
    }

    @Test func `rounded inputs are described for others only where every token's range stays its own`() throws {
        var execution = Execution.plain
        (execution.activationBits, execution.activationSymmetric, execution.activationPerHead) = (4, false, false)
        let opt = OPTConfiguration(
            vocabularySize: 40, hiddenSize: 24, feedForwardSize: 48, layers: 1, heads: 2, maximumPositions: 32)
        let reason = SharedForm.obstacle(execution, OPT.architecture(opt), rotates: false)
        #expect(reason?.contains("takes one range") == true)
        #expect(SharedForm.obstacle(.plain, OPT.architecture(opt), rotates: false) == nil)
        #expect(SharedForm.obstacle(execution, source.architecture, rotates: false) == nil)
        // A job's own folder is none of transformers' then.
        for (architecture, isShared) in [(OPT.architecture(opt), false), (source.architecture, true)] {
            let spec = QuantizerSpec(bits: 8)
            let packing = FolderPacking(
                integers: Dictionary(uniqueKeysWithValues: architecture.linears.map { ($0.name, spec) }), execution: execution)
            #expect(packing.isShared(architecture, tied: false) == isShared, "\(architecture.type)")
        }
    }
}
