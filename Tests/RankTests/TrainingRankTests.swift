import Autograd
import Collectives
import Models
import Parallelism
import TensorCore
import TestSupport
import Testing

@testable import Trainer

extension RankTests {
    /// Full training, data-parallel, against a world of one on the same global batch.
    @Suite(.serialized) struct FullTrainingTests {
        let world = RankWorld.shared

        private static let batch = 8
        private static let length = 24
        private static let configuration = LlamaConfiguration(
            family: .qwen2, vocabularySize: 64, hiddenSize: 32, intermediateSize: 48, layers: 2, heads: 4, keyValueHeads: 2,
            headDimension: 8, maximumPositions: 32, normEpsilon: 1e-5, rotary: RotaryScaling(base: 10_000),
            tiedEmbeddings: true,
            inputBias: true, outputBias: false, feedForwardBias: false)

        private static var parameters: Parameters<Tensor> {
            var random = RandomStream(seed: 21)
            return configuration.architecture.parameters().map { name, spec in
                let shape = spec.shape
                return shape.count == 1 && name.hasSuffix("norm.weight")
                    ? Tensor(repeating: 1, shape)
                    : Tensor(normal: shape, deviation: 1 / Double(shape.last ?? 1).squareRoot(), from: &random)
            }
        }

        private static var sequences: [[Int32]] {
            var random = RandomStream(seed: 22)
            return (0..<batch).map { _ in (0..<length).map { _ in Int32(random.next() % 64) } }
        }

        private func train<World: Communicator>(
            _ world: World, steps: Int, shard: Bool = false, recompute: Bool = false, rule: UpdateRule = .momentum(0.9)
        ) throws -> (weights: ModelWeights<Tensor>, losses: [Double], norms: [Double]) {
            let settings = TrainerSettings(
                rule: rule, weightDecay: 0.01, clipNorm: 1, isSharded: shard, microBatches: .sequences(atMost: 1),
                recompute: recompute, bucketBytes: 4096)
            let trainer = try NetworkTrainer(
                settings, Self.configuration.description.model(positions: Self.length), Self.parameters, hooks: IdentityHooks(),
                over: .dataParallel(world))
            let own = Self.sequences[slice(of: Self.batch, rank: world.rank, ranks: world.size)]
            let results = try (0..<steps).map {
                try trainer.step($0, ReplicaBatch(Array(own)), globalSequences: Self.batch, learningRate: 0.02)
            }
            return (trainer.weights, results.map(\.loss), results.map(\.gradientNorm))
        }

        @Test func `a first step on any number of ranks is that of one rank`() throws {
            let one = try train(LoopbackCommunicator(), steps: 1)
            let many = try train(world, steps: 1)
            #expect(abs(many.losses[0] / one.losses[0] - 1) < 1e-5)
            #expect(abs(many.norms[0] / one.norms[0] - 1) < 1e-5)
            for (a, b) in zip(many.weights.tensors, one.weights.tensors) { #expect(relativeError(a, b) < 1e-5) }
        }

        @Test(arguments: [UpdateRule.momentum(0.9), .adamW(beta1: 0.9, beta2: 0.95, epsilon: 1e-8)])
        func `sharded state gives the same bits as whole state`(rule: UpdateRule) throws {
            let whole = try train(world, steps: 4, rule: rule)
            let sharded = try train(world, steps: 4, shard: true, rule: rule)
            #expect(whole.losses == sharded.losses)
            for (a, b) in zip(whole.weights.tensors, sharded.weights.tensors) { #expect(a.elements == b.elements) }
        }

        /// Buckets of two parameters or one, of which slices end in the midst.
        @Test func `updated weights travel in the gradients' memory`() throws {
            var random = RandomStream(seed: 23)
            var weights = ModelWeights(Self.parameters)
            // A gradient that has no weight lies in the last bucket, as a tied head's may.
            let counts = weights.tensors.map(\.count)
            let layout = BucketLayout(counts: counts, bytes: 16384)
            var optimizer = Optimizer(.momentum(0), decay: 0, layout, isSharded: true, over: world)
            var gradients = BucketLayout(counts: counts + [8], bytes: 16384).bucketCounts.map {
                Tensor(normal: [$0], from: &random)
            }
            // Weights of their own, as a step leaves them.
            for index in weights.tensors.indices { _ = weights[index].mutablePointer }
            StoragePool.shared.trim()
            let before = StoragePool.shared.systemAllocations
            try optimizer.step(&weights, gradients: &gradients, learningRate: 0.1, gradientScale: 1, over: world)
            #expect(StoragePool.shared.systemAllocations == before)
            let bytes = weights.tensors.flatMap { $0.withElements { Array(UnsafeRawBufferPointer($0)) } }
            #expect(try world.allGather(bytes).allSatisfy { $0 == bytes })
        }

        @Test func `all ranks hold the same weights after some steps, and the loss has fallen`() throws {
            let trained = try train(world, steps: 12)
            let bytes = trained.weights.tensors.flatMap { $0.withElements { Array(UnsafeRawBufferPointer($0)) } }
            #expect(try world.allGather(bytes).allSatisfy { $0 == bytes })
            #expect(trained.losses[11] < trained.losses[0] - 0.1)
        }

        @Test func `recomputed activations give the same bits`() throws {
            let kept = try train(world, steps: 2)
            let recomputed = try train(world, steps: 2, recompute: true)
            for (a, b) in zip(kept.weights.tensors, recomputed.weights.tensors) { #expect(a.elements == b.elements) }
        }
    }
}
