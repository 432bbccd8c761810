import Autograd
import Calibration
import Collectives
import Evaluation
import Models
import Parallelism
import Planning
import Rotation
import TensorCore
import TestSupport
import Testing

@testable import Configuration
@testable import Datasets
@testable import Trainer

extension RankTests {
    /// Stages against one rank: the same micro-batches must give the same bits.
    @Suite(.serialized) struct PipelineTests {
        let world = RankWorld.shared

        private static let length = 24
        private static let batch = 8
        private static let steps = 20
        /// Untied, so that the last stage has an odd share; five layers, so that stages differ.
        private static let configuration = LlamaConfiguration(
            family: .llama, vocabularySize: 96, hiddenSize: 48, intermediateSize: 80, layers: 5, heads: 4, keyValueHeads: 2,
            headDimension: 16, maximumPositions: 64, normEpsilon: 1e-5, rotary: RotaryScaling(base: 10_000),
            tiedEmbeddings: true, inputBias: false, outputBias: false, feedForwardBias: false)

        /// A stage's weights, each drawn from a stream of its own so that any stage draws the whole model's.
        private static func parameters(_ stage: Range<Int>) -> Parameters<Tensor> {
            let streams = configuration.architecture.parameters().named.map(\.name)
            return configuration.architecture.parameters(stage).map { name, spec in
                let shape = spec.shape
                if shape.count == 1 { return Tensor(repeating: 1, shape) }
                var random = RandomStream(seed: 31, stream: UInt64(streams.firstIndex(of: name) ?? 0))
                return Tensor(normal: shape, deviation: 1.5 / Double(shape[1]).squareRoot(), from: &random)
            }.fusingNorms(configuration.architecture)
        }

        private static let sequences: [[Int32]] = {
            var random = RandomStream(seed: 32)
            return (0..<24).map { _ in (0..<length).map { _ in Int32(random.next() % 96) } }
        }()

        /// One rank's view of a run of some steps.
        private struct Run: Equatable {
            var losses: [Double] = []
            var norms: [Double] = []
            var rotations: [UInt32] = []
            var score = LanguageModelScore(perplexity: 0)
            var invariance = 0.0
        }

        private func learn(
            _ dims: ParallelDims, _ world: some Communicator, _ assignments: [String] = [], divides: Bool = false
        ) throws -> Run {
            let groups = try ParallelGroups(dims, world)
            let c = Self.configuration
            let config = try RunConfig(
                assignments: ["data.sequence_length=\(Self.length)", "parallel.microbatches=\(Self.batch / dims.data)"]
                    + assignments)
            let stage = try config.stages("rotate", dims, c.architecture)[groups.stage]
            let recipe = try RotationRecipe(config, c.architecture, planTokens: Self.length * Self.batch / 4, dims: dims)
            let model = c.description.model(positions: Self.length)
            let original = Self.parameters(stage)
            let base = recipe.online.r4.map { original.rotatedDown(by: $0) } ?? original
            var settings = recipe.learner
            (settings.dividesUpdate, settings.dividesWeights) = (divides, divides)
            let learner = RotationLearner(settings, model, base: base, online: recipe.online, from: recipe.start)
            var run = Run()
            if recipe.learner.objective.readsStoredRows {
                // One rank's in memory, those of several in files: the same bits.
                let folder = try TemporaryFolder()
                try learner.store(
                    Array(Self.sequences.prefix(7)), tokens: 70, in: world.size == 1 ? .memory : .file(folder: folder.path),
                    groups)
            }
            for step in 0..<Self.steps {
                let own = slice(of: Self.batch, rank: groups.replica, ranks: dims.data)
                func sequences(_ step: Int) -> [[Int32]] { own.map { Self.sequences[(step * Self.batch + $0) % 16] } }
                // Of some steps the next one's sequences are not known, or are others than was said.
                let next = step % 3 == 0 ? [] : step % 5 == 0 ? sequences(step) : sequences(step + 1)
                let result = try learner.step(
                    step, ReplicaBatch(sequences(step), next: next), globalSequences: Self.batch,
                    learningRate: recipe.learner.objective.runsNetwork ? 5 : 0.5, groups)
                run.losses.append(result.loss)
                run.norms.append(result.gradientNorm)
            }
            #expect(try learner.orthogonalityError(over: world) == learner.orthogonalityError)
            run.rotations = learner.rotations.named.flatMap { $0.tensor.elements.map(\.bitPattern) }
            let scorer = RotatedScorer(model: model, base: base, recipe: recipe, windows: Array(Self.sequences.suffix(7)))
            run.score = try scorer.score(learner.rotations, groups)
            run.invariance = try model.logitChange(
                Self.sequences[20], original, original.rotated(by: learner.rotations, c.architecture), groups)
            return run
        }

        @Test(arguments: [
            [], ["parallel.schedule=gpipe"], ["parallel.schedule=1f1b-slack"],
            ["rotation.train_weight_bits=4", "rotation.objective=ce", "training.recompute=true"],
            ["training.precision=bfloat16"],
            ["rotation.objective=range"], ["rotation.objective=weights"],
        ])
        func `stages give one rank's losses, rotations and scores bit for bit`(_ assignments: [String]) throws {
            let staged = try learn(ParallelDims(data: 1, pipeline: world.size), world, assignments)
            #expect(try staged == learn(.alone, LoopbackCommunicator(), assignments))
            #expect(try staged == learn(ParallelDims(data: 1, pipeline: world.size), world, assignments, divides: true))
            // Every second step has the same sequences.
            #expect(staged.losses[Self.steps - 2] < staged.losses[0])
        }

        /// Replicas add up gradients in another order, in double precision; a difference in float32's last place would, through
        /// the quantizers, be some percent of the loss after a few steps.
        @Test(.enabled(if: RankWorld.shared.size % 2 == 0))
        func `replicas of stages learn what one rank learns, and repeat bit for bit`() throws {
            let alone = try learn(.alone, LoopbackCommunicator())
            let dims = ParallelDims(data: 2, pipeline: world.size / 2)
            let run = try learn(dims, world)
            #expect(run.losses.count == Self.steps && alone.losses.count == Self.steps)
            for (a, b) in zip(run.losses, alone.losses) { #expect(abs(a - b) <= 5e-3 * b) }
            #expect(abs(run.losses[0] - alone.losses[0]) <= 1e-5 * alone.losses[0])
            #expect(try learn(dims, world) == run)
            let bytes = run.rotations.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } }
            #expect(try world.allGather(bytes).allSatisfy { $0 == bytes })
        }

        /// Rows of rotations by all ranks, weights by replicas; every rank then has the others' work.
        @Test(arguments: [
            [], ["rotation.train_weight_bits=4"], ["rotation.momentum=0.5"], ["rotation.retraction=iterative"],
            ["rotation.r1=none"],
        ])
        func `what ranks divide among them changes no bit`(_ assignments: [String]) throws {
            let dims = ParallelDims(data: world.size, pipeline: 1)
            let alike = try learn(dims, world, assignments)
            #expect(try learn(dims, world, assignments, divides: true) == alike)
            let bytes = alike.rotations.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } }
            #expect(try world.allGather(bytes).allSatisfy { $0 == bytes })
        }

        /// 40 sequences are three chunks, so that stages have a full and a partial group of them under way.
        @Test func `stages draw one rank's tokens`() throws {
            func draw(_ dims: ParallelDims, _ world: some Communicator) throws -> [[Int32]] {
                let groups = try ParallelGroups(dims, world)
                let stage = evenStages(Self.configuration.architecture, dims.pipeline)[groups.stage]
                let network = Self.configuration.description.model(positions: Self.length).constantNetwork(
                    Self.parameters(stage))
                return try SampledTokens.draw(40, length: 9, first: 3, seed: 5, stream: 100, from: network, groups) { _ in }
            }
            let alone = try draw(.alone, LoopbackCommunicator())
            #expect(alone.count == 40 && alone.allSatisfy { $0.count == 9 && $0[0] == 3 })
            #expect(try draw(ParallelDims(data: 1, pipeline: world.size), world) == alone)
            if world.size == 4 { #expect(try draw(ParallelDims(data: 2, pipeline: 2), world) == alone) }
        }

        /// Large messages travel in pieces and both ways at once; slow stages make every wait happen.
        @Test(arguments: PipelineSchedule.allCases) func `an executor delivers every message once and in order`(
            _ schedule: PipelineSchedule
        ) throws {
            func run<World: Communicator>(_ world: World) throws {
                let executor = PipelineExecutor(world)
                let rows = 40_000
                // More than there are micro-batches, and than may be under way.
                var made: [Int] = []
                let aside = try PassesAside(world, shapes: (0..<11).map { [rows - $0, 3] }) { m, input in
                    #expect((input == nil) == (world.rank == 0))
                    if let input { #expect(input[flat: input.count - 1] == Float(1000 * world.rank + m)) }
                    made.append(m)
                    return Tensor(repeating: Float(1000 * (world.rank + 1) + m), [rows - m, 3])
                }
                var forwards: [Int] = []
                var backwards: [Int] = []
                try executor.run(
                    schedule.actions(stage: world.rank, stages: world.size, microbatches: 9), shape: { [rows + $0, 2] },
                    streams: 2, aside: aside,
                    forward: { m, inputs in
                        #expect(inputs.count == (world.rank == 0 ? 0 : 2))
                        for (stream, x) in inputs.enumerated() {
                            #expect(
                                x.shape == [rows + m, 2] && x[flat: x.count - 1] == Float(100 * world.rank + 10 * m + stream))
                        }
                        forwards.append(m)
                        guard world.rank < world.size - 1 else { return [] }
                        return (0..<2).map { Tensor(repeating: Float(100 * (world.rank + 1) + 10 * m + $0), [rows + m, 2]) }
                    },
                    backward: { m, gradient in
                        #expect((gradient == nil) == (world.rank == world.size - 1))
                        if let gradient { #expect(gradient[flat: 0] == Float(-100 * (world.rank + 1) - m)) }
                        backwards.append(m)
                        return world.rank == 0 ? nil : Tensor(repeating: Float(-100 * world.rank - m), [rows + m, 2])
                    })
                #expect(forwards == Array(0..<9) && backwards == Array(0..<9))
                #expect(made == Array(0..<11))
                let timing = executor.timing
                #expect(timing.aside > 0 && timing.forward + timing.backward + timing.aside <= timing.total)
            }
            try run(world)
        }
    }
}
