import Autograd
import Calibration
import Collectives
import Evaluation
import Models
import Parallelism
import Rotation
import Support
import TensorCore
import TestSupport
import Testing

@testable import Configuration
@testable import Trainer

/// Rotations learned without a backward pass: from stored activations, or from the weights alone.
@Suite struct StoredObjectiveTests {
    static let objectives: [RotationObjective] = [.range, .whip, .kurtosis, .weights]

    /// A small random Llama with a few large channels, and sequences to store.
    private struct Setup {
        static let configuration = LlamaConfiguration(
            family: .llama, vocabularySize: 96, hiddenSize: 48, intermediateSize: 80, layers: 2, heads: 4, keyValueHeads: 2,
            headDimension: 16, maximumPositions: 64, normEpsilon: 1e-5, rotary: RotaryScaling(base: 10_000),
            tiedEmbeddings: false, inputBias: false, outputBias: false, feedForwardBias: false)
        let learner: RotationLearner
        let recipe: RotationRecipe
        let groups: ParallelGroups<LoopbackCommunicator>

        init(
            _ objective: RotationObjective, tokens: Int = 96, in storage: ActivationStorage = .memory,
            assignments: [String] = [], size: Float = 1
        )
            throws
        {
            let c = Self.configuration
            var random = RandomStream(seed: 71)
            let parameters = c.architecture.parameters().map { _, spec in
                var tensor =
                    spec.shape.count == 1
                    ? Tensor(repeating: 1, spec.shape)
                    : Tensor(normal: spec.shape, deviation: 1.5 / Double(spec.shape[1]).squareRoot(), from: &random)
                if spec.shape.count == 2 { for row in 0..<tensor.rows { tensor[row, 5] *= 5 } }
                if spec.ports != nil { for place in 0..<tensor.count { tensor[flat: place] *= size } }
                return tensor
            }.fusingNorms(c.architecture)
            let config = try RunConfig(assignments: ["rotation.objective=\(objective.rawValue)"] + assignments)
            recipe = try RotationRecipe(config, c.architecture, planTokens: 256)
            let base = recipe.online.r4.map { parameters.rotatedDown(by: $0) } ?? parameters
            learner = RotationLearner(
                recipe.learner, c.description.model(positions: 32), base: base, online: recipe.online, from: recipe.start)
            groups = try ParallelGroups.dataParallel(LoopbackCommunicator())
            guard objective != .weights else { return }
            let windows = (0..<6).map { _ in (0..<32).map { _ in Int32(random.next() % 96) } }
            try learner.store(windows, tokens: tokens, in: storage, groups)
        }

        func step(_ index: Int, rate: Float) throws -> StepResult {
            try learner.step(index, ReplicaBatch([]), globalSequences: 0, learningRate: rate, groups)
        }
    }

    @Test(arguments: objectives) func `the loss falls, and rotations stay orthogonal`(_ objective: RotationObjective) throws {
        // All tokens in each step, so that steps compare.
        let setup = try Setup(objective, tokens: 6 * 32)
        let losses = try (0..<15).map { try setup.step($0, rate: 0.5).loss }
        #expect(losses[14] < 0.98 * losses[0])
        #expect(setup.learner.orthogonalityError < 1e-5)
    }

    /// Fourth powers of the small ones are less than any float.
    @Test(arguments: [0x1p-60, 0x1p60] as [Float]) func `the size of weights changes nothing`(_ size: Float) throws {
        let (usual, other) = (try Setup(.weights), try Setup(.weights, size: size))
        for step in 0..<3 { #expect(try usual.step(step, rate: 0.5).loss == other.step(step, rate: 0.5).loss) }
        #expect(usual.learner.rotations.r1?.elements == other.learner.rotations.r1?.elements)
    }

    @Test func `rows of the smallest floats become no infinities`() {
        let rows = Tensor([0x1p-133, -0x1p-132, 0, 0, 3, 4], [3, 2]).normalizedRows()
        #expect(rows.isFinite && rows.elements[2...3] == [0, 0] && abs(rows.squaredNorm - 2) < 1)
    }

    /// Of R1 and every R2, on all sides that they are merged into.
    @Test(arguments: objectives) func `gradients are those of finite differences`(_ objective: RotationObjective) throws {
        let setup = try Setup(objective)
        let learner = setup.learner
        let start = learner.rotations
        let zero = try setup.step(0, rate: 0)
        let gradients = learner.reducedGradients
        var random = RandomStream(seed: 72)
        var offset = 0
        for (name, rotation) in start.named {
            let n = rotation.rows
            let skew = gradients.slice(offset..<offset + SkewMatrix.packedCount(order: n))
            offset += skew.count
            let turn = SkewMatrix.pack(Tensor(normal: [n, n], deviation: 0.3, from: &random))
            func loss(_ size: Float) throws -> Double {
                var optimizer = CayleySGD()
                learner.rotations = try start.mapNamed { other, value in
                    guard other == name else { return value }
                    var moved = value
                    // A step of a given size along the turn: the rate is smaller than 1/‖S‖₁.
                    var scaled = turn
                    scaled.scale(by: -size * 1e3)
                    try optimizer.step(&moved, skew: scaled, learningRate: 1e-3)
                    return moved
                }
                return try setup.step(0, rate: 0).loss
            }
            // e^−|y| has a kink at 0, |κ − 1.8| at 1.8.
            let size: Float = [.whip, .kurtosis].contains(objective) ? 5e-4 : 4e-3
            let measured = try (loss(size) - loss(-size)) / Double(2 * size)
            let expected = zip(turn.elements, skew.elements).reduce(0) { $0 + 2 * Double($1.0) * Double($1.1) }
            #expect(abs(measured - expected) <= 2e-2 * abs(expected) + 2e-4 * zero.loss, "\(name)")
        }
        #expect(offset == gradients.count)
    }

    @Test(arguments: objectives.dropLast(), [96, 6 * 32]) func `rows in a file give the bits of rows in memory`(
        _ objective: RotationObjective, tokens: Int
    ) throws {
        let folder = try TemporaryFolder()
        let (held, filed) = try (
            Setup(objective, tokens: tokens), Setup(objective, tokens: tokens, in: .file(folder: folder.path))
        )
        for step in 0..<3 { #expect(try held.step(step, rate: 0.5).loss == filed.step(step, rate: 0.5).loss) }
        #expect(held.learner.rotations.named.map(\.tensor.elements) == filed.learner.rotations.named.map(\.tensor.elements))
    }

    @Test func `rows that cannot be kept are an error, not left out`() throws {
        let folder = try TemporaryFolder()
        try AtomicFile.write("", to: folder.file("taken"))
        #expect { try Setup(.range, in: .file(folder: folder.file("taken"))) } throws: {
            "\($0)".contains("cannot be made a folder")
        }
    }

    /// The variance of rounding goes with the square of the steps.
    @Test func `ranges half as wide lose a quarter`() throws {
        let sites = "attention_input=0.5,key=0.5,value=0.5,output_input=0.5,mlp_input=0.5,down_input=0.5"
        let (whole, half) = try (
            Setup(.range).step(0, rate: 0).loss,
            Setup(.range, assignments: ["quantization.clip_ratios=\(sites)"]).step(0, rate: 0).loss
        )
        #expect(abs(half / whole - 0.25) < 1e-6)
    }

    @Test func `a start is no worse than any that it is chosen from, for R1 and each R2`() throws {
        let setup = try Setup(.range, assignments: ["rotation.starts=6"])
        #expect(Set(setup.recipe.candidates.compactMap { $0.r1?.elements }).count == 6)
        #expect(setup.recipe.candidates[0].r1?.elements == setup.recipe.start.r1?.elements)
        try setup.learner.start(from: setup.recipe.candidates, setup.groups)
        let chosen = try setup.step(0, rate: 0).loss
        for candidate in setup.recipe.candidates {
            setup.learner.rotations = candidate
            #expect(try chosen <= setup.step(0, rate: 0).loss * (1 + 1e-9))
        }
    }

    @Test func `starts to choose from are made one at a time, so that many take no more memory than few`() async {
        // In a process of its own: other tests take memory of the same pool.
        await #expect(processExitsWith: .success) {
            let (few, many) = try (
                Setup(.range, assignments: ["rotation.starts=4"]), Setup(.range, assignments: ["rotation.starts=100"])
            )
            try withThreads(1) {
                try few.learner.start(from: few.recipe.candidates, few.groups)
                let before = StoragePool.shared.systemAllocations
                try many.learner.start(from: many.recipe.candidates, many.groups)
                // Those that stay: R1 and each R2 of the chosen ones.
                #expect(StoragePool.shared.systemAllocations - before < 20)
            }
        }
    }

    @Test(arguments: [
        (["rotation.objective=range"], "objective"), (["rotation.starts=2"], "starts"),
        (["rotation.pretrain_steps=2"], "pretrain"),
    ]) func `nothing rounded is nothing to learn from`(_ settings: [String], _ named: String) throws {
        let all = settings + ["quantization.activations.bits=16", "quantization.kv.bits=16"]
        let error = #expect(throws: ConfigurationError.self) {
            let config = try RunConfig(assignments: all)
            try QuantizationRecipe(config, Setup.configuration.architecture).checkRows(config.rotation)
        }
        #expect(error?.description.contains("rotation.\(named)") == true)
    }

    @Test(arguments: [
        "rotation.tokens=0", "rotation.sequences=0", "rotation.starts=0", "rotation.objective=Range",
    ]) func `values that mean nothing are refused`(_ setting: String) {
        #expect(throws: ConfigurationError.self) { try RunConfig(assignments: [setting]) }
    }
}
