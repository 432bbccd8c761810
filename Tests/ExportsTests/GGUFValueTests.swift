import GGUF
import HuggingFace
import Models
import Support
import TensorCore
import TestSupport
import Testing

@testable import Exports

/// What a GGUF file says of its network: read as llama.cpp reads it, or refused.
@Suite struct GGUFValueTests {
    private let model: ExportedModel

    init() throws {
        model = try ExportedModel()
        try model.export("gguf-f32", to: "a.gguf")
    }

    /// The configuration of the model's file with some values more or changed.
    private func configuration(
        _ changes: [(key: String, value: GGUFValue)], _ more: GGUFTensorSource...
    ) throws -> HFConfig {
        let file = try GGUFFile(model.file("a.gguf"))
        let kept = file.values.filter { value in !changes.contains { $0.key == value.key } }
        let tensors = file.tensors.map { info in
            GGUFTensorSource(info.name, info.encoding, info.shape) { try file.read(info.name) }
        }
        try GGUFFile.write(kept + changes, tensors + more, to: model.file("b.gguf"))
        return try GGUFModel(model.file("b.gguf")).config
    }

    /// A factor without a type is linear, under its older name, too.
    @Test(
        arguments: [
            ([("llama.rope.scaling.factor", .float32(3))], 3.0),
            ([("llama.rope.scale_linear", .float32(3))], 3),
            ([("llama.rope.scaling.factor", .float32(2)), ("llama.rope.scale_linear", .float32(3))], 2),
            ([("llama.rope.scaling.type", .string("linear")), ("llama.rope.scale_linear", .float32(4))], 4),
            ([("llama.rope.scaling.type", .string("none")), ("llama.rope.scaling.factor", .float32(3))], nil),
            ([("llama.rope.scaling.factor", .float32(0))], nil), ([("llama.rope.scaling.attn_factor", .float32(1))], nil),
            ([("llama.attention.causal", .bool(true)), ("llama.expert_count", .uint32(0))], nil),
        ] as [([(key: String, value: GGUFValue)], Double?)])
    func `angles are scaled as llama.cpp scales them`(_ changes: [(key: String, value: GGUFValue)], _ factor: Double?) throws {
        let scaling = try configuration(changes).json["rope_scaling"]?.object
        #expect(scaling?["factor"]?.number == factor && scaling?["rope_type"]?.string == factor.map { _ in "linear" })
    }

    @Test(
        arguments: [
            ("llama.attention.causal", .bool(false), "has a value"), ("llama.attention.causal", .uint32(1), "true or false"),
            ("llama.rope.scaling.attn_factor", .float32(2), "has a value"), ("llama.expert_count", .uint32(8), "has a value"),
            ("llama.attention.sliding_window", .uint32(16), "has a value"),
            ("llama.rope.scaling.type", .string("yarn"), "yarn"),
            ("llama.attention.clamp_kqv", .float32(1), "is not known to this program"),
            ("llama.new", .uint32(0), "is not known to this program"),
        ] as [(String, GGUFValue, String)])
    func `what makes another network of it is refused by name`(_ key: String, _ value: GGUFValue, _ reason: String) throws {
        let error = #expect(throws: FileError.self) { try configuration([(key, value)]) }
        #expect(error?.description.contains("\(key): ") == true && error?.description.contains(reason) == true)
    }

    /// Whose computation would take minutes and gigabytes.
    @Test func `more factors of rotary frequencies than the tensor has are refused before they are computed`() throws {
        let factors = GGUFTensorSource("rope_freqs.weight", .f32, [2]) { Tensor([1, 1], [2]) }
        let huge: [(key: String, value: GGUFValue)] = [
            ("llama.attention.key_length", .uint32(2_000_000_000)), ("llama.attention.value_length", .uint32(2_000_000_000)),
            ("llama.rope.dimension_count", .uint32(2_000_000_000)),
        ]
        let error = #expect(throws: FileError.self) { try configuration(huge, factors) }
        #expect(error?.description.contains("rope_freqs.weight: has shape [2]") == true)
    }

    @Test func `values of another architecture or of the file's form do not matter`() throws {
        _ = try configuration([("qwen2.attention.causal", .bool(false)), ("general.url", .string("x"))])
    }
}
