internal import Collectives
internal import HuggingFace
internal import Parallelism
internal import TensorCore

/// What a step came to, whatever it trains.
package struct StepResult: Sendable {
    /// Mean over the predictions of the global batch, before the update.
    package var loss: Double
    /// Of the whole gradient, before clipping; for rotations √(Σ ‖S‖²), S the skew gradients.
    package var gradientNorm: Double
    /// Spent waiting for other ranks.
    package var communicationSeconds: Double
}

/// The steps of a job that trains: order of the data, learning rate, metrics.
struct TrainingLoop {
    /// What the steps came to.
    struct Record {
        var firstLoss = 0.0
        var lastLoss = 0.0
        /// Of every step but the first, which also fills the memory pool.
        var seconds: [Double] = []
        /// By this rank.
        var bytesSentPerStep = 0
        var secondsPerStep: Double { seconds.reduce(0, +) / Double(max(1, seconds.count)) }
        /// The job's part of `summary.json`.
        var loss: JSONValue { ["first": .double(firstLoss), "last": .double(lastLoss)] }
    }

    let config: RunConfig
    let windows: Windows
    /// As in "learning 3/100".
    let verb: String
    /// Where `training.learning_rate` is auto.
    let automaticRate: Double

    /// Takes all steps. Collective.
    ///
    /// - Parameter step: takes one, on this replica's sequences of the global batch; may add to the step's metrics.
    func run(
        _ context: JobContext<some Communicator>,
        step take: (_ step: Int, _ sequences: [[Int32]], _ learningRate: Float, _ metrics: inout JSONObject) throws -> StepResult
    ) throws -> Record {
        let (training, groups) = (config.training, context.groups)
        let sent = groups.bytesSent
        var order = BatchOrder(
            windows: windows.count, batchSize: training.batchSize,
            random: RandomStream(seed: UInt64(training.seed), stream: SeedStream.batchOrder))
        let schedule = LearningRate(training, automatic: automaticRate)
        let tokens = Double(training.batchSize * config.data.sequenceLength)
        var record = Record()
        for step in 0..<training.steps {
            let begin = ContinuousClock.now
            let rate = schedule.rate(step: step)
            let own = order.sequences(step: step, rank: groups.replica, ranks: groups.dims.data).map { windows[$0] }
            var more = JSONObject()
            let result = try take(step, own, Float(rate), &more)
            let seconds = (.now - begin) / .seconds(1)
            if step == 0 { record.firstLoss = result.loss }
            record.lastLoss = result.loss
            if step > 0 || training.steps == 1 { record.seconds.append(seconds) }
            var line = JSONObject()
            line["step"] = .integer(step)
            line["loss"] = .double(result.loss)
            line["lr"] = .double(rate)
            line["grad_norm"] = .double(result.gradientNorm)
            line["tokens_per_second"] = .double(tokens / seconds)
            line["communication_seconds"] = .double(result.communicationSeconds)
            for (key, value) in more.members { line[key] = value }
            try context.folder.append(line)
            context.reporter.progress(
                verb, step + 1, of: training.steps, "loss \(result.loss.formatted(decimals: 4)), \(Int(tokens / seconds)) tokens/s")
        }
        record.bytesSentPerStep = (groups.bytesSent - sent) / training.steps
        return record
    }
}
