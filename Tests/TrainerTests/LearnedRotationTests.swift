import Autograd
import Collectives
import EmbeddedModel
import Evaluation
import Models
import Parallelism
import Rotation
import TensorCore
import Testing

@testable import Configuration
@testable import Trainer

/// What the program is for: rotations that are learned quantize better than the random Hadamard rotations they start from.
@Suite struct LearnedRotationTests {
    @Test func `learned rotations diverge less from full precision than the Hadamard rotations they start from`() throws {
        let folder = try ModelFolder(EmbeddedModel.path)
        let parameters = try folder.parameters().fusingNorms(folder.architecture)
        let (length, batch, steps) = (64, 8, 40)
        let config = try RunConfig(assignments: ["training.steps=\(steps)", "data.sequence_length=\(length)"])
        let model = folder.description.model(positions: length)
        let sequences = model.sample(
            parameters.map { _, tensor in Variable(constant: tensor) }, first: 0, length: length, seed: 3, streams: 0..<96)
        let recipe = try RotationRecipe(config, folder.architecture, planTokens: batch * length)
        let base = recipe.online.r4.map { parameters.rotatedDown(by: $0) } ?? parameters
        let learner = RotationLearner(recipe.learner, model, base: base, online: recipe.online, from: recipe.start)
        let groups = try ParallelGroups.dataParallel(LoopbackCommunicator())
        // Scored on text that it has not learned from.
        let scorer = RotatedScorer(model: model, base: base, recipe: recipe, windows: Array(sequences.suffix(32)))
        let before = try scorer.score(recipe.start, groups)
        let rate = LearningRate(config.training, automatic: TrainingSettings.automaticRate(config.rotation.objective))
        for step in 0..<steps {
            let own = (0..<batch).map { sequences[(step * batch + $0) % 64] }
            _ = try learner.step(
                step, ReplicaBatch(own), globalSequences: batch, learningRate: Float(rate.rate(step: step)), groups)
        }
        let after = try scorer.score(learner.rotations, groups)
        let ratio = try #require(after.klDivergence) / #require(before.klDivergence)
        #expect(ratio < 0.97)
        #expect(learner.orthogonalityError < 1e-5)
    }
}
