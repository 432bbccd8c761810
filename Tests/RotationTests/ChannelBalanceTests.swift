import Autograd
import Evaluation
import HuggingFace
import LinearAlgebra
import Models
import Quantization
import TensorCore
import TestSupport
import Testing

@testable import Rotation

/// Changes before rotations that leave the function and even out what rounding costs.
@Suite struct ChannelBalanceTests {
    private static let windows: [[Int32]] = {
        var random = RandomStream(seed: 32)
        return (0..<9).map { _ in (0..<16).map { _ in Int32(random.next() % 50) } }
    }()

    private static func llama(bias: Bool = true, headNorms: Bool = false) -> LlamaConfiguration {
        LlamaConfiguration(
            family: headNorms ? .qwen3 : .llama, vocabularySize: 50, hiddenSize: 48, intermediateSize: 80, layers: 2, heads: 4,
            keyValueHeads: 2, headDimension: 8, maximumPositions: 64, normEpsilon: 1e-5, rotary: RotaryScaling(base: 10_000),
            tiedEmbeddings: false, inputBias: bias, outputBias: bias, feedForwardBias: bias)
    }

    private static let opt = OPTConfiguration(
        vocabularySize: 50, hiddenSize: 48, feedForwardSize: 96, layers: 2, heads: 4, maximumPositions: 64, bias: true,
        affineNorms: true, tiedEmbeddings: false)

    /// Rows of a matrix are of very different sizes.
    private static func parameters(_ architecture: Architecture) -> Parameters<Tensor> {
        var random = RandomStream(seed: 31)
        return architecture.parameters().map { _, spec in
            var value = Tensor(
                normal: spec.shape, deviation: spec.shape.count == 1 ? 0.5 : 1 / Double(spec.shape[1]).squareRoot(),
                from: &random)
            let width = value.count / spec.shape[0]
            for place in 0..<value.count where place / width % 3 == 0 { value[flat: place] *= 8 }
            return value
        }
    }

    private final class Recorder: HookTransform {
        var seen: [Int: [HookPoint: InputStatistics]] = [:]

        func transform(_ x: Variable, at point: HookPoint, block: Int?, on tape: Tape) -> Variable {
            guard let block else { return x }
            let known = seen[block, default: [:]][point]
            let statistics = known ?? InputStatistics(width: x.value.columns, depth: .secondMoment)
            statistics.add(x.value)
            seen[block, default: [:]][point] = statistics
            return x
        }
    }

    private func statistics(_ model: Model, _ parameters: Parameters<Tensor>) -> [Int: [HookPoint: InputStatistics]] {
        let recorder = Recorder()
        for window in Self.windows {
            _ = Network(model: model, parameters: parameters.map { _, value in Variable(constant: value) }, hooks: recorder)
                .outputs([window], from: nil)
        }
        return recorder.seen
    }

    private func balanced(_ parameters: Parameters<Tensor>, _ description: ModelDescription) throws -> Parameters<Tensor> {
        let (architecture, model) = (description.architecture, description.model(positions: 16))
        var balances: [Int: ChannelBalance] = [:]
        for (block, points) in statistics(model, parameters) {
            var moments = ChannelMoments()
            for (point, seen) in points {
                moments.note(seen, at: point, parameters.blocks[block], architecture.blocks[block].heads)
            }
            balances[block] = try ChannelBalance(moments, parameters.blocks[block], architecture.blocks[block])
        }
        return parameters.balanced(by: balances, architecture)
    }

    private func checkFunction(_ description: ModelDescription, changed: [String], kept: [String] = []) throws {
        let before = Self.parameters(description.architecture)
        let after = try balanced(before, description)
        let model = description.model(positions: 16)
        for window in Self.windows {
            // Rows of eight times the size make attention sharp: rounding alone comes to 1e-4.
            #expect(relativeLogitChange(model.logits(window, before), model.logits(window, after)) < 2e-4)
        }
        for (name, value) in before.named {
            let isKept = after.named.first { $0.name == name }?.value.elements == value.elements
            #expect(!isKept || !changed.contains { name.hasSuffix($0) }, "\(name)")
            #expect(isKept || !kept.contains { name.hasSuffix($0) }, "\(name)")
        }
    }

    @Test(arguments: [true, false]) func `balancing leaves the logits of a Llama`(bias: Bool) throws {
        let names = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.up_proj"]
        try checkFunction(
            Self.llama(bias: bias).description,
            changed: names.flatMap { bias ? [$0 + ".weight", $0 + ".bias"] : [$0 + ".weight"] }
                + ["self_attn.o_proj.weight", "mlp.down_proj.weight"], kept: ["mlp.gate_proj.weight"])
    }

    @Test func `balancing leaves the logits of an OPT`() throws {
        let names = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "fc1"]
        try checkFunction(Self.opt.description, changed: names.flatMap { [$0 + ".weight", $0 + ".bias"] } + ["fc2.weight"])
    }

    /// Norms of heads would undo it.
    @Test func `queries and keys that are normed keep their scales`() throws {
        try checkFunction(
            Self.llama(bias: false, headNorms: true).description, changed: ["self_attn.v_proj.weight"],
            kept: ["self_attn.q_proj.weight", "self_attn.k_proj.weight"])
    }

    private func columnSquare(_ matrix: Tensor, _ column: Int) -> Double {
        (0..<matrix.rows).map { Double(matrix[$0, column]) * Double(matrix[$0, column]) }.reduce(0, +)
    }

    @Test func `what is balanced costs least`() throws {
        let description = Self.llama().description
        let model = description.model(positions: 16)
        let before = Self.parameters(description.architecture)
        let after = try balanced(before, description)
        func costs(_ parameters: Parameters<Tensor>) throws -> (values: Double, keys: [Double], inner: [Double]) {
            // The first layer's two blocks.
            let (attention, feedForward, seen) = (parameters.blocks[0], parameters.blocks[1], statistics(model, parameters))
            func squares(_ point: HookPoint) throws -> [Double] {
                try #require(seen[0]?[point] ?? seen[1]?[point]).meanSquares
            }
            let down = feedForward.required("mlp.down_proj.weight")
            let inner = try squares(.downInput).enumerated().map { j, square in columnSquare(down, j) / square }
            // The first key-value head, which the first two query heads read.
            let output = attention.required("self_attn.o_proj.weight")
            let weights = (0..<16).map { columnSquare(output, $0) }.reduce(0, +)
            let made = try squares(.value)[0..<8].reduce(0, +)
            let read = try squares(.outputInput)[0..<16].reduce(0, +)
            let values = made / 8 + read / 16
            let (queries, keys) = (try squares(.query), try squares(.key))
            let ratios = (0..<4).map { j -> Double in
                let query = [j, j + 4, j + 8, j + 12].map { queries[$0] }.reduce(0, +)
                return query / (keys[j] + keys[j + 4])
            }
            return (values * weights, ratios, inner)
        }
        let (old, new) = (try costs(before), try costs(after))
        func spread(_ values: [Double]) -> Double { (values.max() ?? 0) / (values.min() ?? 1) }
        #expect(spread(old.inner) > 4 && spread(new.inner) < 1.01, "\(spread(old.inner)) \(spread(new.inner))")
        #expect(spread(old.keys) > 1.5 && spread(new.keys) < 1.01, "\(spread(old.keys)) \(spread(new.keys))")
        #expect(new.values < 0.8 * old.values, "\(old.values) \(new.values)")
    }
}
