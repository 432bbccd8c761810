internal import Collectives
internal import Configuration
internal import Datasets
internal import Models
internal import Planning
internal import Rotation
internal import Runs
internal import Support
internal import TensorCore
internal import Trainer

/// The work before the first step.
extension RotateJob {
    /// The text that rotations learn from; nil where they need none. Collective.
    func text(
        _ run: LanguageModelRun<some Communicator>, drawingFrom network: Parameters<StoredTensor>
    ) throws -> Windows? {
        let rotation = run.context.config.rotation
        guard rotation.objective != .weights, !rotation.isFixed || rotation.starts > 1 else { return nil }
        let limit = rotation.objective.readsStoredRows ? rotation.sequences : .max
        return try run.inputs.trainingWindows(run.model, network, run.context, limit: limit)
    }

    /// The learner at its start: with the best of several random rotations, and after some steps on stored activations, where
    /// these are asked for; or where an earlier attempt has stopped. Collective.
    func learner(
        _ run: LanguageModelRun<some Communicator>, _ recipe: RotationRecipe, base: Parameters<StoredTensor>, _ text: Windows?
    ) throws -> RotationLearner {
        let (context, rotation) = (run.context, run.context.config.rotation)
        let sharing = try run.sharing(.ofRotate)
        func made(_ settings: RotationLearner.Settings, from start: Rotations) -> RotationLearner {
            var settings = settings
            (settings.dividesUpdate, settings.dividesWeights) = (sharing.dividesUpdate, sharing.dividesWeights)
            return RotationLearner(settings, run.model, base: base, online: recipe.online, from: start)
        }
        let saved = run.checkpoints.restoredState()
        let learner: RotationLearner
        if rotation.isFixed && rotation.starts == 1 {
            learner = made(recipe.learner, from: recipe.start)
        } else if rotation.objective.readsStoredRows {
            learner = made(recipe.learner, from: recipe.start)
            try store(text, in: learner, context)
            if saved == nil { try learner.start(from: recipe.candidates, context.groups) }
        } else if saved == nil, rotation.starts > 1 || rotation.pretrainSteps > 0 {
            var settings = recipe.learner
            settings.objective = .range
            settings.weightQuantizer = nil
            let first = made(settings, from: recipe.start)
            try store(text, in: first, context)
            try first.start(from: recipe.candidates, context.groups)
            try run.learn(first, steps: rotation.pretrainSteps, "pretraining")
            learner = made(recipe.learner, from: first.rotations)
        } else {
            learner = made(recipe.learner, from: recipe.start)
        }
        if let saved { try learner.restore(saved) }
        return learner
    }

    private func store(
        _ text: Windows?, in learner: RotationLearner, _ context: JobContext<some Communicator>
    ) throws {
        guard let text else { preconditionFailure("no text to store activations of") }
        let (rotation, length) = (context.config.rotation, context.config.data.sequenceLength)
        let windows = (0..<min(text.count, rotation.sequences)).map { text[$0] }
        context.reporter.note("storing the activations of \(windows.count) sequences of \(length) tokens")
        try learner.store(windows, tokens: rotation.tokens, in: context.activationStorage, context.groups)
    }
}
