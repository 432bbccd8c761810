internal import Collectives
internal import HuggingFace
internal import Models
internal import TensorCore

/// The steps of a job that trains a network: order of the data, learning rate, metrics.
struct TrainingLoop {
    /// What the steps came to.
    struct Record {
        var firstLoss = 0.0
        var lastLoss = 0.0
        /// Of every step but the first, which also fills the memory pool.
        var seconds: [Double] = []
        var secondsPerStep: Double { seconds.reduce(0, +) / Double(max(1, seconds.count)) }
    }

    let config: RunConfig
    let windows: Windows

    /// Takes all steps. Collective.
    ///
    /// - Parameter afterUpdate: called after each update of the weights, within the step's time; adds to the step's metrics.
    func run<World: Communicator>(
        _ trainer: NetworkTrainer<some SiteTransform, World>, _ context: JobContext<World>,
        afterUpdate: (_ step: Int, _ metrics: inout JSONObject) throws -> Void = { _, _ in }
    ) throws -> Record {
        let training = config.training
        var order = BatchOrder(
            windows: windows.count, batchSize: training.batchSize,
            random: RandomStream(seed: UInt64(training.seed), stream: SeedStream.batchOrder))
        let schedule = LearningRate(training, automatic: TrainingSettings.automaticRate(training.optimizer))
        let clock = ContinuousClock()
        let tokens = Double(training.batchSize * config.data.sequenceLength)
        var record = Record()
        for step in 0..<training.steps {
            let begin = clock.now
            let rate = schedule.rate(step: step)
            let own = order.sequences(step: step, rank: context.communicator.rank, ranks: context.communicator.size).map { windows[$0] }
            let result = try trainer.step(step, own, globalSequences: training.batchSize, learningRate: Float(rate))
            var line = JSONObject()
            line["step"] = .integer(step)
            line["loss"] = .double(result.loss)
            line["lr"] = .double(rate)
            line["grad_norm"] = .double(result.gradientNorm)
            try afterUpdate(step, &line)
            let seconds = (clock.now - begin) / .seconds(1)
            line["tokens_per_second"] = .double(tokens / seconds)
            line["communication_seconds"] = .double(result.communicationSeconds)
            if step == 0 { record.firstLoss = result.loss }
            record.lastLoss = result.loss
            if step > 0 || training.steps == 1 { record.seconds.append(seconds) }
            try context.folder.append(line)
            context.reporter.progress(
                "training", step + 1, of: training.steps,
                "loss \(result.loss.formatted(decimals: 4)), \(Int(tokens / seconds)) tokens/s")
        }
        return record
    }
}

extension RunConfig {
    /// What `optimizer.*` and `training.*` mean for the trainer.
    var updateRule: UpdateRule {
        switch training.optimizer {
        case .adamw:
            .adamW(beta1: Float(optimizer.beta1), beta2: Float(optimizer.beta2), epsilon: Float(optimizer.epsilon))
        case .sgd: .momentum(Float(optimizer.momentum))
        }
    }

    var trainerSettings: TrainerSettings {
        TrainerSettings(
            rule: updateRule, weightDecay: Float(optimizer.weightDecay), clipNorm: optimizer.clipNorm, isSharded: optimizer.shard,
            microBatch: microBatch, recompute: training.recompute)
    }
}
