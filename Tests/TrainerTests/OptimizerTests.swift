import Collectives
import Glibc
import Models
import Parallelism
import TensorCore
import TestSupport
import Testing

@testable import Trainer

@Suite struct OptimizerTests {
    /// A model of one layer with parameters of different kinds, random but for nothing.
    static func parameters(seed: UInt64 = 1) -> Parameters<Tensor> {
        var random = RandomStream(seed: seed)
        let configuration = LlamaConfiguration(
            family: .qwen2, vocabularySize: 11, hiddenSize: 8, intermediateSize: 12, layers: 2, heads: 2, keyValueHeads: 1,
            headDimension: 4, maximumPositions: 16, normEpsilon: 1e-5, rotary: .init(base: 10_000), tiedEmbeddings: false,
            inputBias: true, outputBias: false, feedForwardBias: false)
        return configuration.architecture.parameters().map { _, spec in Tensor(normal: spec.shape, from: &random) }
    }

    /// Buckets of 100 elements cut the model into several.
    private static func layout(_ weights: ModelWeights<Tensor>) -> BucketLayout {
        BucketLayout(counts: weights.tensors.map(\.count), bytes: 400)
    }

    private static func gradients(_ layout: BucketLayout, step: UInt64) -> [Tensor] {
        var random = RandomStream(seed: 2, stream: step)
        return layout.bucketCounts.map { Tensor(normal: [$0], from: &random) }
    }

    private static func run(
        _ rule: UpdateRule, decay: Float, steps: UInt64, shard: Bool = false, _ world: any Communicator = LoopbackCommunicator()
    ) throws -> ModelWeights<Tensor> {
        var weights = ModelWeights(parameters())
        let layout = layout(weights)
        func run(_ world: some Communicator) throws {
            var optimizer = Optimizer(rule, decay: decay, layout, isSharded: shard, over: world)
            for step in 0..<steps {
                var gradients = gradients(layout, step: step)
                try optimizer.step(
                    &weights, gradients: &gradients, learningRate: 0.01, gradientScale: 0.5, over: world)
            }
        }
        try run(world)
        return weights
    }

    /// The closed form in double precision, element by element.
    private static func expected(
        decay: Float, steps: UInt64,
        _ update: (_ w: Double, _ g: Double, _ state: inout (Double, Double), _ t: Int, _ decay: Double) -> Double
    ) -> [[Double]] {
        let weights = ModelWeights(parameters())
        let layout = layout(weights)
        let all = (0..<steps).map { gradients(layout, step: $0) }
        return weights.tensors.indices.map { parameter in
            let place = layout.places[parameter]
            let decay = weights.decays(parameter) ? Double(decay) : 0
            return (0..<place.count).map { i in
                var w = Double(weights[parameter][flat: i])
                var state = (0.0, 0.0)
                for (t, gradients) in all.enumerated() {
                    let g = 0.5 * Double(gradients[place.bucket][flat: place.offset + i])
                    w = update(w, g, &state, t + 1, decay)
                }
                return w
            }
        }
    }

    /// Largest |a − b|.
    private func difference(_ weights: ModelWeights<Tensor>, _ expected: [[Double]]) -> Double {
        guard weights.tensors.map(\.count) == expected.map(\.count) else { return .infinity }
        return zip(weights.tensors, expected).map { tensor, values in
            zip(tensor.elements, values).map { abs(Double($0) - $1) }.max() ?? .infinity
        }.max() ?? .infinity
    }

    @Test func `AdamW follows its closed form, decay and bias corrections included`() throws {
        let weights = try Self.run(.adamW(beta1: 0.9, beta2: 0.95, epsilon: 1e-8), decay: 0.1, steps: 5)
        let expected = Self.expected(decay: 0.1, steps: 5) { w, g, state, t, decay in
            state.0 = 0.9 * state.0 + 0.1 * g
            state.1 = 0.95 * state.1 + 0.05 * g * g
            let direction = state.0 / (1 - pow(0.9, Double(t))) / ((state.1 / (1 - pow(0.95, Double(t)))).squareRoot() + 1e-8)
            return w - 0.01 * (direction + decay * w)
        }
        // Weights of size up to 4 in float32: 2.4e-7 a rounding, five steps.
        #expect(difference(weights, expected) < 3e-6)
    }

    @Test func `momentum follows its closed form`() throws {
        let weights = try Self.run(.momentum(0.9), decay: 0.1, steps: 5)
        let expected = Self.expected(decay: 0.1, steps: 5) { w, g, state, _, decay in
            state.0 = 0.9 * state.0 + g + decay * w
            return w - 0.01 * state.0
        }
        #expect(difference(weights, expected) < 3e-6)
    }

    @Test func `weights decay in matrices only, and not in the embedding`() {
        let weights = ModelWeights(Self.parameters())
        let decaying = weights.names.indices.filter(weights.decays).map { weights.names[$0] }
        #expect(decaying.allSatisfy { $0.hasSuffix("_proj.weight") || $0 == "lm_head.weight" })
        #expect(decaying.count == 2 * 7 + 1)
    }

    @Test func `a parameter's squares are its own`() {
        let layout = BucketLayout(counts: [2, 1, 3], bytes: 12)
        let gradients = [Tensor([3, 4, 5], [3]), Tensor([1, 2, 2], [3])]
        #expect((0..<3).map { layout.squaredNorm(of: $0, in: gradients) } == [25, 25, 9])
    }

    @Test func `clipping scales a norm above the limit down to it and leaves others alone`() {
        #expect(clippingFactor(norm: 5, limit: 1) == 0.2)
        #expect(clippingFactor(norm: 0.5, limit: 1) == 1)
        #expect(clippingFactor(norm: 5, limit: nil) == 1)
    }

    @Test func `a model's parameters come back from their masters by name`() {
        let parameters = Self.parameters()
        let weights = ModelWeights(parameters)
        #expect(weights.names.first == "lm_head.weight" && weights.names.last == "model.embed_tokens.weight")
        #expect(weights.parameters.named.count == parameters.named.count)
        for (old, new) in zip(parameters.named, weights.parameters.named) {
            #expect(old.name == new.name && maxDifference(old.value, new.value) == 0)
        }
    }
}
