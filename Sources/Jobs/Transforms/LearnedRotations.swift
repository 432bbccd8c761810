internal import Collectives
internal import Configuration
internal import Models
internal import Parallelism
internal import Planning
internal import Rotation
internal import Runs
internal import TensorCore
internal import Trainer

/// R1 and R2 from `rotation.path`, or learned without a backward pass: by the range of rounded values on the calibration text
/// or, where no activations are rounded, by the weights' kurtosis.
struct LearnedRotations: ModelTransform {
    static let name = QuantizeSettings.Transform.learned
    static let key = "rotated"
    static let label = "R1 and R2"
    static let method: String? = "learned rotations"
    static let rotates = true

    func apply(_ input: TransformInput<some Communicator>) throws -> Parameters<StoredTensor> {
        let (recipe, architecture, world) = (input.recipe, input.architecture, input.run.context.groups.world)
        guard recipe.givenRotations != nil || recipe.rotation.learns else {
            throw TransformObstacle(reason: "nothing to learn: rotation.r1 and rotation.r2 are fixed")
        }
        let turnsStream = (recipe.givenRotations ?? recipe.rotation.hadamard).r1 != nil
        if case .fixed(let reason) = architecture.rotatability { throw TransformObstacle(reason: "not rotatable: \(reason)") }
        let isFit = !turnsStream || input.network.foldsNorms(architecture)
        guard try world.allReduce(Int64(isFit ? 1 : 0), .min) == 1 else {
            throw TransformObstacle(reason: "not rotatable: the last norm cannot be folded")
        }
        return input.network.rotated(by: try recipe.givenRotations ?? learned(input), recipe.online, architecture)
    }

    private func learned(_ input: TransformInput<some Communicator>) throws -> Rotations {
        let (recipe, config) = (input.recipe, input.run.context.config)
        var learning = recipe.rotation.learner
        learning.weightQuantizer = nil
        learning.dividesUpdate = try input.run.sharing(.inQuantize).dividesUpdate
        learning.objective = config.roundsTurnedActivations ? .range : .weights
        let learner = RotationLearner(
            learning, input.run.model, base: input.network.fusingNorms(input.architecture), online: OnlineRotations(),
            from: recipe.rotation.hadamard)
        if learning.objective == .range {
            try learner.store(
                Array(input.calibration.prefix(config.rotation.sequences)), tokens: config.rotation.tokens,
                in: input.run.context.activationStorage, input.run.context.groups)
        }
        try input.run.learn(learner, steps: config.quantize.learningSteps, "learning rotations")
        return learner.rotations
    }
}
