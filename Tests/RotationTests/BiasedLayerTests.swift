import Autograd
import Evaluation
import HuggingFace
import LinearAlgebra
import Models
import TensorCore
import TestSupport
import Testing

@testable import Rotation

/// R1 and R2 merged into a model whose linear layers all have biases.
@Suite struct BiasedLayerTests {
    private static let configuration = LlamaConfiguration(
        family: .llama, vocabularySize: 50, hiddenSize: 48, intermediateSize: 80, layers: 3, heads: 4, keyValueHeads: 2,
        headDimension: 8, maximumPositions: 64, normEpsilon: 1e-5, rotary: RotaryScaling(base: 10_000), tiedEmbeddings: false,
        inputBias: true, outputBias: true, feedForwardBias: true)

    private static func parameters() -> Parameters<Tensor> {
        var random = RandomStream(seed: 81)
        return configuration.architecture.parameters().map { _, spec in
            let deviation = spec.shape.count == 1 ? 1 : 1 / Double(spec.shape[1]).squareRoot()
            return Tensor(normal: spec.shape, deviation: deviation, from: &random)
        }
    }

    private func change(_ parameters: Parameters<Tensor>) -> Double {
        let tokens = (0..<24).map { Int32($0 * 13 % 50) }
        let model = Self.configuration.description.model(positions: tokens.count)
        return relativeLogitChange(model.logits(tokens, Self.parameters()), model.logits(tokens, parameters))
    }

    @Test(arguments: [(true, false), (false, true), (true, true)])
    func `merged rotations leave the logits`(r1: Bool, r2: Bool) {
        let c = Self.configuration
        let rotations = Rotations.randomHadamard(
            hidden: r1 ? c.hiddenSize : nil, head: r2 ? c.headDimension : nil, layers: c.layers, seed: 5)
        #expect(change(Self.parameters().fusingNorms(Self.configuration.architecture)) < 1e-5)
        #expect(
            change(Self.parameters().fusingNorms(Self.configuration.architecture).rotated(by: rotations, c.architecture)) < 2e-5
        )
    }

    /// So that the test above is one: a bias that stays as it was is a change of the function.
    @Test(arguments: ["self_attn.v_proj.bias", "self_attn.o_proj.bias", "mlp.down_proj.bias"])
    func `a bias that is not rotated along changes them`(name: String) throws {
        let c = Self.configuration
        let rotations = Rotations.randomHadamard(hidden: c.hiddenSize, head: c.headDimension, layers: c.layers, seed: 5)
        let fused = Self.parameters().fusingNorms(Self.configuration.architecture)
        var rotated = fused.rotated(by: rotations, c.architecture)
        let block = try #require(rotated.blocks.indices.last { rotated.blocks[$0].index(name) != nil })
        let place = try #require(rotated.blocks[block].index(name))
        rotated.blocks[block][place] = fused.blocks[block][place]
        #expect(change(rotated) > 1e-2)
    }
}
