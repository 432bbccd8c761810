import Collectives
import Foundation
import HuggingFace
import Models
import Parallelism
import Support
import TensorCore
import TernarySVD
import TestSupport
import Testing

@testable import Configuration
@testable import Jobs
@testable import Runs

/// What a compressed folder takes on disk.
@Suite struct ModelBytesTests {
    private let folder: TemporaryFolder

    /// One block of random weights, wide enough that headers and texts are few beside the numbers: 0.4 MB in all.
    init() throws {
        folder = try TemporaryFolder()
        try FileManager.default.createDirectory(atPath: folder.file("source"), withIntermediateDirectories: true)
        let config: JSONValue = [
            "model_type": "llama", "hidden_size": 192, "intermediate_size": 384, "num_hidden_layers": 1,
            "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 512, "max_position_embeddings": 64,
            "rms_norm_eps": 1e-5, "rope_theta": 10000, "tie_word_embeddings": true, "hidden_act": "silu",
        ]
        try AtomicFile.write(config.text(), to: folder.file("source/config.json"))
        var random = RandomStream(seed: 9)
        let specs = try LlamaConfiguration(HFConfig(folder.file("source/config.json"))).architecture.parameters()
        try Checkpoint.write(
            specs.named.map { name, spec in
                TensorSource(name, Tensor(normal: spec.shape, deviation: 0.05, from: &random), as: .bf16)
            }, to: folder.file("source"))
        let tokens = TensorSource("input_ids", integers: (0..<128).map { $0 * 37 % 512 }, [8, 16])
        try SafetensorsFile.write([tokens], to: folder.file("tokens.safetensors"))
    }

    /// Bits of one factor by what the chance of its three values alone says, −Σ p·log₂ p an entry.
    private static func bits(_ factor: PackedTernary) -> Double {
        let entries = factor.unpacked.elements
        return [Float(-1), 0, 1].reduce(0) { sum, value in
            let count = Double(entries.count { $0 == value })
            return count == 0 ? sum : sum - count * log2(count / Double(entries.count))
        }
    }

    @Test func `a ternary model takes no more than 1.03 of its factors' bits and the rest in bfloat16`() throws {
        let out = folder.file("ptq")
        let config = try SettingsRequest(
            assignments: [
                "model.path=\(folder.file("source"))", "data.eval.path=\(folder.file("tokens.safetensors"))",
                "data.sequence_length=16", "data.eval.windows=2", "ternary.tolerance=0.1", "eval.compare=false", "out=\(out)",
            ]
        ).configuration(job: "ptq")
        try PtqJob().run(
            JobContext(
                config: config, groups: try ParallelGroups(.alone, LoopbackCommunicator()),
                folder: RunFolder(out, isWriter: true), reporter: Reporter(isSpeaking: false)))

        let factors = try TernaryFile.read(out + "/model/ternary.safetensors")
        #expect(factors.count == 7)
        // Scales and balances in full; U and V as a coder without any model of them would leave them.
        let factorBits = factors.values.reduce(0.0) { sum, layer in
            let scales = layer.s.count + (layer.balance.map { $0.a.count + $0.b.count } ?? 0)
            return sum + Self.bits(layer.u) + Self.bits(layer.v) + 32 * Double(scales)
        }
        let parameters = try ModelFolder(folder.file("source")).architecture.parameters().named
        let rest = parameters.filter { factors[String($0.name.dropLast(".weight".count))] == nil }
        #expect(rest.map(\.name).count == parameters.count - 7)
        let restBits = rest.reduce(0.0) { $0 + 16 * Double($1.value.count) }
        let bytes = try entries(ofFolder: out + "/model").reduce(0) { sum, name in
            sum + (try InputFile("\(out)/model/\(name)").size)
        }
        let weights = try #require(try InputFile.json(out + "/summary.json")["model_bytes"]?.integer)
        #expect(weights <= bytes && Double(bytes) <= 1.03 * Double(weights))
        #expect(8 * Double(bytes) <= 1.03 * (factorBits + restBits), "\(bytes) bytes")
        // Nor is it small for having left something out.
        #expect(8 * Double(bytes) >= 0.8 * (factorBits + restBits), "\(bytes) bytes")
    }
}
