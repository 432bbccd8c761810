import Autograd
import Calibration
import Collectives
import EmbeddedModel
import Evaluation
import LinearAlgebra
import Models
import Parallelism
import Rotation
import TensorCore
import Testing

@testable import Configuration
@testable import Trainer

extension RankTests {
    /// Rotation learning, data-parallel, against a world of one on the same global batch.
    @Suite(.serialized) struct RotationTests {
        let world = RankWorld.shared

        /// A small random Llama, its quantization, and the sequences it learns from and is scored on.
        private struct Setup {
            static let configuration = LlamaConfiguration(
                family: .llama, vocabularySize: 96, hiddenSize: 48, intermediateSize: 80, layers: 2, heads: 4, keyValueHeads: 2,
                headDimension: 16, maximumPositions: 64, normEpsilon: 1e-5, rotary: RotaryScaling(base: 10_000),
                tiedEmbeddings: false, inputBias: false, outputBias: false, feedForwardBias: false)
            static let length = 32
            let model = configuration.description.model(positions: length)
            let parameters: Parameters<Tensor>
            let recipe: RotationRecipe
            let sequences: [[Int32]]

            init(planTokens: Int, trainWeightBits: Int = 16, objective: RotationObjective = .divergence) throws {
                var random = RandomStream(seed: 11)
                parameters = Self.configuration.architecture.parameters().map { _, spec in
                    let shape = spec.shape
                    return shape.count == 1
                        ? Tensor(repeating: 1, shape)
                        : Tensor(normal: shape, deviation: 1.5 / Double(shape[1]).squareRoot(), from: &random)
                }.fusingNorms(Self.configuration.architecture)
                let config = try RunConfig(assignments: [
                    "rotation.train_weight_bits=\(trainWeightBits)", "quantization.weights.bits=\(trainWeightBits)",
                    "rotation.objective=\(objective.rawValue)",
                ])
                recipe = try RotationRecipe(config, Self.configuration.architecture, planTokens: planTokens)
                sequences = (0..<24).map { _ in (0..<Self.length).map { _ in Int32(random.next() % 96) } }
            }

            var base: Parameters<Tensor> { recipe.online.r4.map { parameters.rotatedDown(by: $0) } ?? parameters }

            func learner() -> RotationLearner {
                RotationLearner(recipe.learner, model, base: base, online: recipe.online, from: recipe.start)
            }
        }

        private static let batch = 8

        /// This rank's share of a step's sequences.
        private func share(_ setup: Setup, step: Int, _ world: some Communicator) -> [[Int32]] {
            let own = slice(of: Self.batch, rank: world.rank, ranks: world.size)
            return own.map { setup.sequences[(step * Self.batch + $0) % 16] }
        }

        private func learn(_ setup: Setup, steps: Int, rate: Float, _ world: some Communicator) throws -> (
            RotationLearner, [Double]
        ) {
            let learner = setup.learner()
            let groups = try ParallelGroups.dataParallel(world)
            let losses = try (0..<steps).map { step in
                try learner.step(
                    step, ReplicaBatch(share(setup, step: step, world)), globalSequences: Self.batch, learningRate: rate, groups
                ).loss
            }
            return (learner, losses)
        }

        /// With the plan that a run of as many ranks makes: where plans differ, quantizers see values that differ in the last
        /// place, and an entry may flip to the next level.
        @Test(arguments: [16, 4]) func `a step's loss and gradients are those of one rank`(weightBits: Int) throws {
            func setup(_ replicas: Int) throws -> Setup {
                let tokens = RotationPlan.tokens(perStep: Self.batch * Setup.length, replicas: replicas)
                return try Setup(planTokens: tokens, trainWeightBits: weightBits)
            }
            let (mine, alone) = (try setup(world.size), try setup(1))
            let (shared, sharedLoss) = try learn(mine, steps: 1, rate: 0, world)
            let (single, singleLoss) = try learn(alone, steps: 1, rate: 0, LoopbackCommunicator())
            #expect(abs(sharedLoss[0] - singleLoss[0]) <= 1e-5 * singleLoss[0])
            let (a, b) = (shared.reducedGradients, single.reducedGradients)
            // Float32 sums of a few hundred terms in another order.
            #expect((a - b).squaredNorm.squareRoot() <= 1e-5 * b.squaredNorm.squareRoot())
        }

        /// Each rank stores its share of the sequences, or takes its share of the blocks; sums are in double precision, so that
        /// only products of float32 rows, taken in other portions, differ in the last place.
        @Test(arguments: [RotationObjective.range, .weights])
        func `without a backward pass the ranks learn what one learns`(objective: RotationObjective) throws {
            let setup = try Setup(planTokens: 256, objective: objective)
            func learn(_ world: some Communicator) throws -> (RotationLearner, [Double]) {
                let (learner, groups) = (setup.learner(), try ParallelGroups.dataParallel(world))
                if objective == .range {
                    try learner.store(Array(setup.sequences.prefix(10)), tokens: 100, in: .memory, groups)
                }
                let nothing = ReplicaBatch([])
                let losses = try (0..<5).map {
                    try learner.step($0, nothing, globalSequences: 0, learningRate: 0.5, groups).loss
                }
                return (learner, losses)
            }
            let ((shared, losses), (single, expected)) = (try learn(world), try learn(LoopbackCommunicator()))
            for (a, b) in zip(losses, expected) { #expect(abs(a - b) <= 1e-5 * b) }
            #expect(losses[4] < losses[0])
            for (a, b) in zip(shared.rotations.named, single.rotations.named) {
                #expect((a.tensor - b.tensor).maxMagnitude <= 1e-4, "\(a.name)")
            }
            let bytes = shared.rotations.named.flatMap { $0.tensor.elements.flatMap { withUnsafeBytes(of: $0, Array.init) } }
            #expect(try world.allGather(bytes).allSatisfy { $0 == bytes })
        }

        @Test func `two runs have the same bits, on every rank`() throws {
            let setup = try Setup(planTokens: Self.batch / world.size * Setup.length)
            let (first, losses) = try learn(setup, steps: 5, rate: 20, world)
            let (second, again) = try learn(setup, steps: 5, rate: 20, world)
            #expect(losses == again)
            let bits = first.rotations.named.flatMap { $0.tensor.elements.map(\.bitPattern) }
            #expect(bits == second.rotations.named.flatMap { $0.tensor.elements.map(\.bitPattern) })
            let bytes = bits.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } }
            #expect(try world.allGather(bytes).allSatisfy { $0 == bytes })
        }

        /// Of the first step's way: 5e-7 with 2 and with 4 ranks, 0.7 where all ranks have the same sequences. Quantizers
        /// amplify the rounding of sums in another order: after two steps it is 0.24, after eight the rotations have parted.
        @Test func `at the automatic rate a step takes the rotations where one rank takes them`() throws {
            let folder = try ModelFolder(EmbeddedModel.path)
            let parameters = try folder.parameters().fusingNorms(folder.architecture)
            let config = try RunConfig(assignments: ["data.sequence_length=48"])
            let model = folder.description.model(positions: config.data.sequenceLength)
            let sequences = model.sample(
                parameters.map { _, tensor in Variable(constant: tensor) }, first: 0, length: config.data.sequenceLength,
                seed: 3, streams: 0..<UInt64(Self.batch))
            let recipe = try RotationRecipe(config, folder.architecture, planTokens: 1 << 20)
            let base = recipe.online.r4.map { parameters.rotatedDown(by: $0) } ?? parameters
            func learned(_ world: some Communicator) throws -> Rotations {
                let learner = RotationLearner(recipe.learner, model, base: base, online: recipe.online, from: recipe.start)
                let own = slice(of: Self.batch, rank: world.rank, ranks: world.size)
                _ = try learner.step(
                    0, ReplicaBatch(own.map { sequences[$0] }), globalSequences: Self.batch,
                    learningRate: Float(TrainingSettings.automaticRate(.divergence)), .dataParallel(world))
                return learner.rotations
            }
            func distance(_ a: Rotations, _ b: Rotations) -> Double {
                zip(a.named, b.named).reduce(0) { $0 + ($1.0.tensor - $1.1.tensor).squaredNorm }.squareRoot()
            }
            let shared = try learned(world)
            // Each rank does alone what all have done together.
            let alone = try learned(LoopbackCommunicator())
            let way = distance(alone, recipe.start)
            #expect(way > 1 && distance(alone, shared) <= 1e-4 * way)
        }

        @Test func `a step after the first asks the system for no memory`() throws {
            let setup = try Setup(planTokens: Self.batch / world.size * Setup.length)
            let learner = setup.learner()
            func run(_ groups: ParallelGroups<some Communicator>) throws {
                func step(_ index: Int) throws {
                    _ = try learner.step(
                        index, ReplicaBatch(share(setup, step: index, groups.world)), globalSequences: Self.batch,
                        learningRate: 20, groups)
                }
                try step(0)
                let before = StoragePool.shared.systemAllocations
                for index in 1..<4 { try step(index) }
                #expect(StoragePool.shared.systemAllocations == before)
            }
            func runDataParallel(_ world: some Communicator) throws { try run(.dataParallel(world)) }
            try runDataParallel(world)
        }

        /// The cost model against the products that ran. They do more than is needed in attention only: half a block above the
        /// diagonal in every product, and the scores once more in the backward pass.
        @Test func `a step does hardly more operations than its cost model counts`() throws {
            let folder = try ModelFolder(EmbeddedModel.path)
            let c = folder.architecture
            let config = try RunConfig()
            let length = config.data.sequenceLength
            let recipe = try RotationRecipe(config, c, planTokens: length)
            let parameters = try folder.parameters().fusingNorms(folder.architecture)
            let learner = RotationLearner(
                recipe.learner, folder.description.model(positions: length),
                base: recipe.online.r4.map { parameters.rotatedDown(by: $0) } ?? parameters, online: recipe.online,
                from: recipe.start)
            let tokens = (0..<length).map { Int32($0 * 37 % c.vocabularySize) }
            let before = GEMMOperations.performed
            _ = try learner.step(
                0, ReplicaBatch([tokens]), globalSequences: 1, learningRate: 1, .dataParallel(LoopbackCommunicator()))
            let performed = Double(GEMMOperations.performed - before)
            let needed = RotationCost(c, recipe.learner.plan).operationsPerStep(
                sequences: 1, length: length, teacher: true, weightGradients: false, r1: true, r2: true)
            #expect(performed >= 0.99 * needed && performed <= 1.1 * needed)
        }
    }
}
