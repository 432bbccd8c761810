import Autograd
import Collectives
import Evaluation
import Models
import Parallelism
import Planning
import Quantization
import Rotation
import TensorCore
import TernarySVD
import Testing

@testable import Configuration
@testable import Trainer

extension RankTests {
    /// Training through stages against one rank: the same micro-batches must give the same bits.
    @Suite(.serialized) struct TrainingPipelineTests {
        let world = RankWorld.shared

        private static let length = 16
        private static let batch = 8
        private static let steps = 20

        /// Five layers, so that stages differ.
        private static func configuration(tied: Bool) -> LlamaConfiguration {
            LlamaConfiguration(
                family: .llama, vocabularySize: 64, hiddenSize: 32, intermediateSize: 48, layers: 5, heads: 4, keyValueHeads: 2,
                headDimension: 8, maximumPositions: 32, normEpsilon: 1e-5, rotary: RotaryScaling(base: 10_000),
                tiedEmbeddings: tied,
                inputBias: false, outputBias: false, feedForwardBias: false, paddingRow: 3)
        }

        /// Each weight is drawn from a stream of its own, so that any stage draws the whole model's.
        private static func parameters(_ c: LlamaConfiguration, _ stage: Range<Int>) -> Parameters<Tensor> {
            let names = c.architecture.parameters().named.map(\.name)
            return c.architecture.parameters(stage).map { name, spec in
                let shape = spec.shape
                if shape.count == 1 { return Tensor(repeating: 1, shape) }
                var random = RandomStream(seed: 41, stream: UInt64(names.firstIndex(of: name) ?? 0))
                return Tensor(normal: shape, deviation: 1 / Double(shape[1]).squareRoot(), from: &random)
            }
        }

        private static let sequences: [[Int32]] = {
            var random = RandomStream(seed: 42)
            return (0..<16).map { _ in (0..<length).map { _ in Int32(random.next() % 64) } }
        }()

        /// What is trained, and how.
        struct Case: CustomTestStringConvertible, Sendable {
            let testDescription: String
            var tied = false
            var distills = false
            var ternary = false
            var integer = false
            var assignments: [String] = []
        }

        static let cases = [
            Case(testDescription: "train, tied", tied: true),
            Case(
                testDescription: "train, untied, recomputing, SGD",
                assignments: ["training.recompute=true", "training.optimizer=sgd"]),
            Case(
                testDescription: "train, products of bfloat16, recomputing", tied: true,
                assignments: ["training.precision=bfloat16", "training.recompute=true"]),
            Case(
                testDescription: "train, sharded, gpipe", tied: true,
                assignments: ["optimizer.shard=true", "parallel.schedule=gpipe"]),
            Case(testDescription: "ternary, distilling", tied: true, distills: true, ternary: true),
            Case(testDescription: "ternary, adapting at every step", ternary: true, assignments: ["ternary.adapt_every=1"]),
            Case(testDescription: "integer, distilling", distills: true, integer: true),
        ]

        private struct Run: Equatable {
            var losses: [Double] = []
            var norms: [Double] = []
            var perplexity = 0.0
            /// Of the stage, or of a whole model's layers on that stage.
            var weights: [String: [UInt32]] = [:]
        }

        private func train<World: Communicator>(_ dims: ParallelDims, _ world: World, _ testCase: Case, steps: Int = steps)
            throws -> Run
        {
            let groups = try ParallelGroups(dims, world)
            let c = Self.configuration(tied: testCase.tied)
            let config = try RunConfig(
                assignments: [
                    "data.sequence_length=\(Self.length)", "parallel.microbatches=\(Self.batch / dims.data)",
                    "ternary.tolerance=0.2",
                    "quantization.weights.bits=4",
                ] + testCase.assignments)
            let stage = try config.stages("train", dims, c.architecture)[groups.stage]
            let model = c.description.model(positions: Self.length)
            let parameters = Self.parameters(c, stage)
            let recipe = QuantizationRecipe(config, c.architecture)
            let quantizer = testCase.integer ? recipe.weights : nil
            let trainer = try NetworkTrainer(
                config.trainerSettings(config.microBatches(dims)), model,
                testCase.integer ? parameters.fusingNorms(c.architecture) : parameters,
                hooks: QuantizedHooks(quantization: testCase.integer ? recipe.activations : .none),
                weightTransform: quantizer.map { quantizer in quantizer.fakeQuantized },
                teacher: testCase.distills ? model.constantNetwork(parameters) : nil, over: groups)
            var ternary: TernaryTraining<World>?
            if testCase.ternary {
                // Half of the stages have no ternary layer of their own.
                let indices = try trainer.weights.linears(
                    matching: #require(LayerPattern(settingText: "*.layers.0.*,*.layers.1.*")), of: c.architecture.linears)
                ternary = try TernaryTraining(
                    trainer.weights, indices: indices, config.ternary.transition(seed: 0), config, over: groups.replicas)
                try ternary?.begin(&trainer.weights)
            }
            var run = Run()
            for step in 0..<steps {
                let own = slice(of: Self.batch, rank: groups.replica, ranks: dims.data)
                func sequences(_ step: Int) -> [[Int32]] { own.map { Self.sequences[(step * Self.batch + $0) % 16] } }
                let result = try trainer.step(
                    step, ReplicaBatch(sequences(step), next: sequences(step + 1)), globalSequences: Self.batch,
                    learningRate: 3e-3)
                _ = try ternary?.update(&trainer.weights)
                run.losses.append(result.loss)
                run.norms.append(result.gradientNorm)
            }
            let putsOff =
                groups.stage > 0 && !config.training.recompute && !testCase.distills && config.parallel.schedule != .gpipe
            #expect((trainer.timing.weightGradients > 0) == putsOff)
            run.perplexity = try evaluate(
                trainer.network, against: Network<IdentityHooks>?.none, windows: Array(Self.sequences.prefix(3)), groups
            ).perplexity
            for (name, value) in trainer.weights.parameters.named { run.weights[name] = value.elements.map(\.bitPattern) }
            return run
        }

        @Test(arguments: cases) func `stages give one rank's losses, norms and weights bit for bit`(_ testCase: Case) throws {
            var alone = try train(.alone, LoopbackCommunicator(), testCase)
            let staged = try train(ParallelDims(data: 1, pipeline: world.size), world, testCase)
            #expect(alone.weights.count >= staged.weights.count)
            alone.weights = alone.weights.filter { staged.weights[$0.key] != nil }
            #expect(staged == alone)
            // Every second step has the same sequences.
            #expect(alone.losses[Self.steps - 2] < (testCase.distills ? 0.7 * alone.losses[0] : alone.losses[0] - 0.05))
        }

        /// Replicas add gradients in another order than one rank.
        @Test(.enabled(if: RankWorld.shared.size % 2 == 0), arguments: [cases[0], cases[3]])
        func `replicas of stages stay near one rank, and repeat bit for bit`(_ testCase: Case) throws {
            let alone = try train(.alone, LoopbackCommunicator(), testCase)
            let dims = ParallelDims(data: 2, pipeline: world.size / 2)
            let run = try train(dims, world, testCase)
            #expect(abs(run.losses[0] - alone.losses[0]) <= 1e-5 * alone.losses[0])
            #expect(run.losses.count == Self.steps && alone.losses.count == Self.steps)
            for (a, b) in zip(run.losses, alone.losses) { #expect(abs(a - b) <= 5e-3 * b) }
            #expect(try train(dims, world, testCase) == run)
        }

        @Test func `copies of a tied embedding stay equal`() throws {
            let run = try train(ParallelDims(data: 1, pipeline: world.size), world, Self.cases[0], steps: 3)
            let copy = run.weights["model.embed_tokens.weight"] ?? []
            let copies = try world.allGather(
                copy.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } })
            #expect(!copies[0].isEmpty && copies[0] == copies[world.size - 1])
        }

        @Test func `stages decompose what one rank decomposes`() throws {
            func decompose<World: Communicator>(_ dims: ParallelDims, _ world: World) throws -> [TernaryReport.Layer] {
                let groups = try ParallelGroups(dims, world)
                let c = Self.configuration(tied: true)
                let weights = ModelWeights(
                    Self.parameters(
                        c, evenStages(c.architecture, dims.pipeline)[groups.stage]))
                let indices = try weights.linears(matching: .all, of: c.architecture.linears)
                let layers = try Trainer.decompose(weights, indices, TernaryOptions(tolerance: 0.2), over: groups)
                return try StageLayers.gather(layers, groups)
            }
            let alone = try decompose(.alone, LoopbackCommunicator())
            let staged = try decompose(ParallelDims(data: 1, pipeline: world.size), world)
            // The root gathers all, the others have those of their own stage.
            let names = Set(staged.map(\.name))
            let expected = world.isRoot ? alone : alone.filter { names.contains($0.name) }
            #expect(alone.count == 5 * 7 && !staged.isEmpty && staged.map(\.name) == expected.map(\.name))
            for (a, b) in zip(staged, expected) {
                #expect(a.factors.u == b.factors.u && a.factors.s == b.factors.s && a.factors.v == b.factors.v)
                #expect(a.relativeError == b.relativeError)
            }
        }
    }
}
