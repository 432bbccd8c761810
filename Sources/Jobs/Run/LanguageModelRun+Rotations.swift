internal import Collectives
internal import Configuration
internal import Runs
internal import Support
internal import Trainer

extension LanguageModelRun {
    /// Takes steps of an objective that does not run the network, at its own learning rate. Collective.
    ///
    /// - Parameter verb: the word in the line of progress.
    func learn(_ learner: RotationLearner, steps: Int, _ verb: String) throws {
        var training = context.config.training
        (training.steps, training.warmupSteps, training.learningRate) = (steps, 0, nil)
        let rate = LearningRate(training, automatic: TrainingSettings.automaticRate(learner.settings.objective))
        for step in 0..<steps {
            try StopRequest.check(on: context.communicator)
            let result = try learner.step(
                step, ReplicaBatch([]), globalSequences: 0, learningRate: Float(rate.rate(step: step)), context.groups)
            context.reporter.progress(verb, step + 1, of: steps, "loss \(result.loss.formatted(decimals: 5))")
        }
        try learner.finish()
    }
}
