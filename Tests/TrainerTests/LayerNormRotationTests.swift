import Autograd
import Collectives
import Evaluation
import LinearAlgebra
import Models
import Parallelism
import Rotation
import Support
import TensorCore
import TestSupport
import Testing

@testable import Configuration
@testable import Trainer

/// Rotations of a family whose norms take the mean away and add a shift.
@Suite struct LayerNormRotationTests {
    private static let (length, vocabulary) = (16, 40)

    private static func configuration(tied: Bool = true, affine: Bool = true, bias: Bool = true) -> OPTConfiguration {
        OPTConfiguration(
            vocabularySize: vocabulary, hiddenSize: 24, feedForwardSize: 48, layers: 3, heads: 2, maximumPositions: 32,
            bias: bias,
            affineNorms: affine, tiedEmbeddings: tied)
    }

    /// Gains and shifts differ from 1 and 0, and every matrix has means.
    private static func parameters(_ c: OPTConfiguration) -> Parameters<Tensor> {
        var random = RandomStream(seed: 11)
        return c.architecture.parameters().mapSpecs { _, spec, _ in
            var value = Tensor(normal: spec.shape, deviation: 0.4, from: &random)
            value.add(Tensor(repeating: spec.role == .gain ? 1 : 0.1, spec.shape))
            return value
        }
    }

    private static let sequences: [[Int32]] = {
        var random = RandomStream(seed: 12)
        return (0..<8).map { _ in (0..<length).map { _ in Int32(random.next() % UInt64(vocabulary)) } }
    }()

    @Test(arguments: [(true, true, true), (false, true, true), (true, false, true), (true, false, false)])
    func `folding norms and merging rotations leave the function as it is`(_ tied: Bool, _ affine: Bool, _ bias: Bool) throws {
        let c = Self.configuration(tied: tied, affine: affine, bias: bias)
        let model = c.description.model(positions: Self.length)
        let original = Self.parameters(c)
        let expected = model.logits(Self.sequences[0], original)
        let fused = original.fusingNorms(c.architecture)
        #expect(relativeLogitChange(expected, model.logits(Self.sequences[0], fused)) <= 1e-5)
        for seed in [1, 2] as [UInt64] {
            let rotations = Rotations.randomHadamard(hidden: 24, head: 12, layers: 3, seed: seed).keepingMean()
            let r1 = try #require(rotations.r1)
            #expect(rotations.meanError <= 1e-6 && orthogonalityError(r1) <= 1e-6)
            let merged = fused.rotated(by: rotations, c.architecture)
            #expect(relativeLogitChange(expected, model.logits(Self.sequences[0], merged)) <= 2e-5)
        }
        // Without that property of R1 the function is another.
        let plain = Rotations.randomHadamard(hidden: 24, head: 12, layers: 3, seed: 1)
        #expect(relativeLogitChange(expected, model.logits(Self.sequences[0], fused.rotated(by: plain, c.architecture))) > 1e-3)
    }

    @Test func `rotating activations does what rotating weights does`() throws {
        let c = Self.configuration()
        let model = c.description.model(positions: Self.length)
        let fused = Self.parameters(c).fusingNorms(c.architecture)
        let rotations = Rotations.randomHadamard(hidden: 24, head: 12, layers: 3, seed: 3).keepingMean()
        func logits(_ sides: RotatedSides) -> Tensor {
            let parameters = fused.rotated(by: rotations, sides: sides, c.architecture)
            let network = Network(
                model: model, parameters: parameters.map { _, value in Variable(constant: value) },
                hooks: QuantizedHooks(quantization: .none, r1: rotations.r1, sides: sides))
            return matmul(network.outputs([Self.sequences[0]], from: nil), .asStored, parameters.logitWeight, .transposed)
        }
        #expect(relativeLogitChange(logits(.all), logits(.none)) <= 2e-5)
        #expect(relativeLogitChange(logits(.all), logits(RotatedSides([.headInput, .embedding]))) <= 2e-5)
    }

    @Test(arguments: ["exact", "iterative"]) func `learning lowers the loss and keeps the mean`(_ retraction: String) throws {
        let c = Self.configuration()
        let config = try RunConfig(
            assignments: [
                "data.sequence_length=\(Self.length)", "training.batch_size=8", "quantization.weights.bits=16",
                "quantization.activations.bits=4", "quantization.kv.bits=4", "rotation.retraction=\(retraction)",
            ])
        let recipe = try RotationRecipe(config, c.architecture, planTokens: 32)
        let model = c.description.model(positions: Self.length)
        var base = Self.parameters(c).fusingNorms(c.architecture)
        if let r4 = recipe.online.r4 { base = base.rotatedDown(by: r4) }
        let learner = RotationLearner(recipe.learner, model, base: base, online: recipe.online, from: recipe.start)
        let groups = try ParallelGroups(.alone, LoopbackCommunicator())
        var losses: [Double] = []
        for step in 0..<12 {
            let batch = ReplicaBatch(Self.sequences)
            losses.append(try learner.step(step, batch, globalSequences: 8, learningRate: 0.3, groups).loss)
        }
        #expect(learner.rotations.meanError <= 1e-4)
        try learner.finish()
        #expect(losses[11] < losses[0])
        #expect(learner.rotations.meanError <= 1e-5 && learner.orthogonalityError <= 1e-5)
        let merged = Self.parameters(c).fusingNorms(c.architecture).rotated(by: learner.rotations, c.architecture)
        let expected = model.logits(Self.sequences[0], Self.parameters(c))
        #expect(relativeLogitChange(expected, model.logits(Self.sequences[0], merged)) <= 2e-4)
    }

    @Test func `a rotation that does not keep the mean is refused, and so is a model that nothing rotates`() throws {
        let folder = try TemporaryFolder()
        let plain = Rotations.randomHadamard(hidden: 24, head: 12, layers: 3, seed: 1)
        try plain.write(to: folder.file("r.safetensors"), metadata: [:])
        let config = try RunConfig(assignments: ["rotation.path=\(folder.file("r.safetensors"))"])
        let error = #expect(throws: FileError.self) {
            try RotationRecipe(config, Self.configuration().architecture, planTokens: 32)
        }
        #expect(error?.description.contains("does not keep the mean") == true)
        let old = try ModelFolder(GoldenSuite.ownFolder + "/llama/opt350_style_hf")
        let weights = try old.parameters()
        #expect(throws: ConfigurationError.self) { try old.checkRotatable(weights) }
        // Such a model stays as it is.
        let same = weights.fusingNorms(old.architecture)
        for (a, b) in zip(weights.named, same.named) { #expect(maxDifference(a.value, b.value) == 0) }
    }

    @Test func `a last norm that adds something where its gain is 0 is not folded`() throws {
        let c = Self.configuration()
        var weights = Self.parameters(c)
        let gain = try #require(weights.exit.index(.gain))
        weights.exit[gain].mutablePointer[3] = 0
        #expect(!weights.foldsNorms(c.architecture))
        let model = c.description.model(positions: Self.length)
        let fused = weights.fusingNorms(c.architecture)
        #expect(relativeLogitChange(model.logits(Self.sequences[0], weights), model.logits(Self.sequences[0], fused)) == 0)
    }

    @Test func `projecting a skew matrix keeps the mean, and is its own square`() {
        var random = RandomStream(seed: 6)
        let packed = Tensor(normal: [SkewMatrix.packedCount(order: 7)], from: &random)
        let projected = SkewMatrix.keepingMean(packed, order: 7)
        let sums = matmul(SkewMatrix.unpack(projected, order: 7), .asStored, Tensor(repeating: 1, [7, 1]))
        #expect(sums.maxMagnitude <= 1e-6)
        #expect(maxDifference(SkewMatrix.keepingMean(projected, order: 7), projected) <= 1e-6)
    }
}
