import Foundation
import HuggingFace
import LinearAlgebra
import Models
import Quantization
import Rotation
import Support
import TensorCore
import TestSupport
import Testing

@testable import Compression

/// `transform_config`, as this program writes it and as others do.
@Suite struct OnlineTransformsTests {
    private let folder: TemporaryFolder
    private let source: ModelFolder

    init() throws {
        folder = try TemporaryFolder()
        source = try ModelFolder(GoldenSuite.ownFolder + "/llama/llama_base_hf")
    }

    /// Packed integers whose down projections read rotated values, as compressed-tensors has them.
    ///
    /// - Parameters:
    ///   - change: of the scheme, and of the entry of what it is applied to.
    ///   - matrix: what is stored in place of the matrix.
    private func write(
        _ change: (_ scheme: inout JSONObject, _ entry: inout JSONObject) -> Void = { _, _ in },
        matrix: (Tensor) -> Tensor? = { $0 }, named: String = "model.layers.0.mlp.down_proj.R4_input.weight"
    ) throws -> String {
        let spec = QuantizerSpec(bits: 4, symmetric: true, granularity: .channel)
        let packed = try source.parameters().mapSpecs { _, parameter, value -> CompressedValue in
            parameter.ports == nil ? .dense(StoredTensor(value)) : .integer(WeightQuantizer(spec).quantized(value))
        }
        let integers = Dictionary(uniqueKeysWithValues: source.architecture.linears.map { ($0.name, spec) })
        let own = folder.file("own")
        try FolderPacking(integers: integers).write(packed, from: source, as: .f32, to: own)
        let checkpoint = try Checkpoint(own)
        let tensors = try checkpoint.names.map { name in
            let info = try checkpoint.info(name)
            return TensorSource(name, info.type, info.shape) { .bytes(try checkpoint.file(of: name).readBytes(name)) }
        }
        let order = source.architecture.downWidth
        let stored = matrix(SignMatrix(order: order).signs(0..<order))
        let path = folder.file("model")
        try removeTree(path)
        try FileManager.default.copyItem(atPath: own, toPath: path)
        try Checkpoint.write(tensors + (stored.map { [TensorSource(named, $0, as: .bf16)] } ?? []), to: path)
        var config = try HFConfig(path + "/config.json")
        config.json["sq_train"] = nil
        let input: JSONValue = [
            "targets": ["re:.*down_proj$"], "location": "input", "inverse": false, "ignore": [],
        ]
        let hadamard: JSONValue = [
            "type": "random-hadamard", "randomize": false, "requires_grad": false, "head_dim": .null,
            "precision": "torch.float32",
        ]
        var (entry, scheme) = (try #require(input.object), try #require(hadamard.object))
        change(&scheme, &entry)
        if scheme["apply"] == nil { scheme["apply"] = [.object(entry)] }
        var packing = try #require(config.json["quantization_config"]?.object)
        packing["transform_config"] = ["config_groups": ["R4": .object(scheme)]]
        config.json["quantization_config"] = .object(packing)
        try AtomicFile.write(config.text, to: path + "/config.json")
        return path
    }

    private func refusal(_ path: String) -> FileError? {
        #expect(throws: FileError.self) { try CompressedFolder(path) }
    }

    @Test func `rotations of others are run, and what is in the weights is done already`() throws {
        let others: JSONValue = [
            ["targets": "re:.*down_proj$", "location": "input"],
            ["targets": ["re:.*down_proj$"], "location": "weight_input", "inverse": true],
            ["targets": ["re:.*(q|k|v)_proj$", "Embedding"], "location": "weight_output"],
        ]
        for isOther in [false, true] {
            let opened = try CompressedFolder(write { scheme, _ in if isOther { scheme["apply"] = others } })
            var expected = Execution.plain
            expected.r4 = true
            #expect(opened.execution == expected && opened.isShared)
            let hooks = opened.execution.hooks(opened.folder.architecture)
            #expect(hooks.r4?.block.order == 96 && hooks.r3 == nil)
        }
        // Nothing but what is in the weights.
        let merged = try CompressedFolder(
            write(
                { scheme, _ in
                    scheme["type"] = "random-matrix"
                    scheme["apply"] = [["targets": ["Linear"], "location": "weight_input"]]
                }, matrix: { _ in nil }))
        #expect(merged.execution == .plain)
    }

    /// What compressed-tensors computes, x·M/√n, is H·x/√n.
    @Test(arguments: [96, 28, 64, 172]) func `the matrix on rows of values is the transform of this program`(_ order: Int) {
        var random = RandomStream(seed: 4, stream: 2)
        let x = Tensor(normal: [3, order], from: &random)
        let matrix = SignMatrix(order: order).signs(0..<order)
        var expected = x
        HadamardTransform(columns: order).apply(&expected)
        let product = matmul(x, .asStored, matrix, .asStored)
        let found = Tensor(product.elements.map { $0 / Float(order).squareRoot() }, product.shape)
        #expect(maxDifference(found, expected) < 1e-5)
        #expect(SignMatrix(order: order).signs(0..<order, transposed: true).elements == matrix.transposed().elements)
    }

    @Test func `the inverse of the transposed matrix is the matrix`() throws {
        #expect(try CompressedFolder(write({ $1["inverse"] = true }, matrix: { $0.transposed() })).execution.r4)
        #expect(try refusal(write(matrix: { $0.transposed() }))?.description.contains("differs from this program") == true)
        #expect(try refusal(write { $1["inverse"] = true })?.description.contains("differs from this program") == true)
    }

    @Test func `another matrix, or none, is refused by the tensor's name`() throws {
        let changed = try refusal(
            write(matrix: {
                var matrix = $0
                matrix[17, 5] *= -1
                return matrix
            }))
        #expect(changed?.description.contains("R4_input.weight: differs from this program") == true)
        #expect(changed?.description.contains("row 17") == true && changed?.exitCode == .data)
        let scaled = try refusal(write(matrix: { Tensor($0.elements.map { $0 / Float(96).squareRoot() }, $0.shape) }))
        #expect(scaled?.description.contains("row 0") == true)
        let missing = try refusal(write(matrix: { _ in nil }))
        #expect(missing?.description.contains("R4_input.weight: is missing") == true)
        let small = try refusal(write(matrix: { _ in Tensor(identity: 48) }))
        #expect(small?.description.contains("not floats [96, 96]") == true)
        let elsewhere = try refusal(write(named: "model.layers.0.mlp.up_proj.R4_input.weight"))
        #expect(elsewhere?.description.contains("down_proj.R4_input.weight: is missing") == true)
        // A matrix that nothing is said of.
        let stray = try refusal(write { scheme, _ in scheme["apply"] = [] })
        #expect(stray?.description.contains("belongs to no layer") == true)
    }

    @Test(
        arguments: [
            ("type", "learned"), ("type", "random-matrix"), ("type", "hadamard"), ("randomize", true), ("requires_grad", true),
            ("head_dim", 48), ("head_dim", 0), ("precision", "torch.int8"), ("seed", 3), ("apply", "all"), ("apply", [3]),
        ] as [(String, JSONValue)]) func `a scheme that this program does not know is refused by the key`(
            _ key: String, _ value: JSONValue
        ) throws
    {
        let error = try refusal(write { scheme, _ in scheme[key] = value })
        #expect(error?.description.contains("R4: \(key)") == true && error?.exitCode == .data, "\(error as Any)")
    }

    @Test(
        arguments: [
            ("location", "output"), ("location", "q_attn"), ("location", "k_cache"), ("location", "weight"), ("inverse", 1),
            ("scale", 2), ("targets", []), ("targets", ["Linear"]), ("targets", ["re:.*_proj$"]), ("targets", ["re:.*"]),
            ("targets", ["model.layers.0.mlp.down_proj"]), ("targets", ["LlamaMLP", "re:.*down_proj$"]),
            ("targets", ["re:.*(down|up)_proj$"]), ("targets", ["re:.*layers.0.*down_proj$"]), ("targets", 3),
            ("ignore", ["model.layers.1.mlp.down_proj"]), ("ignore", ["Linear"]), ("ignore", ["re:.*(?<=1)$"]),
        ] as [(String, JSONValue)]) func `a place that this program does not know is refused by the key`(
            _ key: String, _ value: JSONValue
        ) throws
    {
        let error = try refusal(write { _, entry in entry[key] = value })
        // Ignoring some leaves the targets incomplete.
        let keys = key == "ignore" ? [key, "targets"] : [key]
        #expect(keys.contains { error?.description.contains("apply[0]: \($0)") == true } && error?.exitCode == .data)
    }

    @Test func `rotations are understood once, of folders that others run, and beside nothing else`() throws {
        let entry: JSONValue = ["targets": ["re:.*down_proj$"], "location": "input"]
        let double = try refusal(write { scheme, _ in scheme["apply"] = [entry, entry] })
        #expect(double?.description.contains("in two entries") == true)
        func changed(_ change: (inout JSONObject) -> Void) throws -> String {
            let path = try write()
            var config = try HFConfig(path + "/config.json")
            var packing = try #require(config.json["quantization_config"]?.object)
            change(&packing)
            config.json["quantization_config"] = .object(packing)
            try AtomicFile.write(config.text, to: path + "/config.json")
            return path
        }
        let own = try refusal(changed { $0["quant_method"] = "sq-train" })
        #expect(own?.description.contains("transform_config") == true)
        let unnamed = try refusal(changed { $0["quant_method"] = .null })
        #expect(unnamed?.description.contains("quant_method") == true)
        let unknown = try refusal(
            changed {
                var transforms = $0["transform_config"]?.object ?? JSONObject()
                transforms["version"] = 2
                $0["transform_config"] = .object(transforms)
            })
        #expect(unknown?.description.contains("transform_config: version") == true)
        let empty = try refusal(changed { $0["transform_config"] = .object(JSONObject()) })
        #expect(empty?.description.contains("R4_input.weight") == true)
        let text = try refusal(changed { $0["transform_config"] = "R4" })
        #expect(text?.description.contains("transform_config") == true)
    }

    @Test(arguments: ["config.json", "model.safetensors"]) func `a damaged file in the folder is read or refused`(
        _ file: String
    ) throws {
        let path = try write() + "/\(file)"
        let original = try InputFile.contents(of: path, limit: 1 << 24)
        let mutations = Mutations(seed: 85, among: 2)
        let refused = try mutations.refusals(of: original, at: path) { _ in
            _ = try CompressedModel(reading: CompressedFolder(folder.file("model")))
        }
        #expect(refused > mutations.count / 8)
    }
}
