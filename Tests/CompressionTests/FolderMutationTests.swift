import Compression
import Foundation
import HuggingFace
import Models
import Quantization
import Support
import TensorCore
import TernarySVD
import TestSupport
import Testing

/// Folders of packed linears, damaged at random.
@Suite struct FolderMutationTests {
    private let folder: TemporaryFolder
    private let source: ModelFolder

    init() throws {
        folder = try TemporaryFolder()
        source = try ModelFolder(GoldenSuite.ownFolder + "/llama/llama_rope3_hf")
    }

    /// A folder of asymmetric integers, and with `factors` of those beside ternary factors, run with rounded activations.
    private func write(factors hasFactors: Bool) throws {
        let spec = QuantizerSpec(bits: 3, symmetric: false, granularity: .channel)
        var (integers, factors) = ([String: QuantizerSpec](), [String: TernaryFactors]())
        let packed = try source.parameters().mapSpecs { name, parameter, value -> CompressedValue in
            guard parameter.ports != nil else { return .dense(StoredTensor(value)) }
            let linear = String(name.dropLast(".weight".count))
            if hasFactors, name.contains("up_proj") {
                let (m, n) = (value.shape[0], value.shape[1])
                let u = PackedTernary(Tensor((0..<m * 4).map { Float($0 % 3) - 1 }, [m, 4]))
                let v = PackedTernary(Tensor((0..<4 * n).map { Float($0 % 3) - 1 }, [4, n]))
                factors[linear] = TernaryFactors(u: u, s: [1, 0.5, 0.25, 2], v: v, tolerance: 0.1)
                return factors[linear].map { .ternary($0) } ?? .dense(StoredTensor(value))
            }
            integers[linear] = spec
            return .integer(WeightQuantizer(spec).quantized(value))
        }
        var execution = Execution.plain
        if hasFactors { (execution.activationBits, execution.valueBits) = (8, 4) }
        try FolderPacking(integers: integers, factors: factors, execution: execution)
            .write(packed, from: source, as: .bf16, to: folder.file("model"))
    }

    @Test(arguments: [
        (false, "config.json"), (false, "model.safetensors"), (true, "config.json"), (true, "model.safetensors"),
        (true, "ternary.safetensors"),
    ]) func `a damaged file in the folder is read or refused`(factors: Bool, file: String) throws {
        try write(factors: factors)
        let path = folder.file("model/\(file)")
        let original = try InputFile.contents(of: path, limit: 1 << 24)
        let mutations = Mutations(seed: 84, among: 5)
        let refused = try mutations.refusals(of: original, at: path) { _ in
            _ = try CompressedModel(reading: CompressedFolder(folder.file("model")))
        }
        #expect(refused > mutations.count / 8)
    }
}
