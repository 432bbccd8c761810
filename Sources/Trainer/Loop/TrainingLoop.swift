package import Collectives
package import Configuration
package import Datasets
internal import Parallelism
package import Runs
package import Support
internal import TensorCore

/// The result of a step, whatever it trains.
package struct StepResult: Sendable {
    /// Mean over the predictions of the global batch, before the update.
    package var loss: Double
    /// Norm of the whole gradient, before clipping; for rotations √(Σ ‖S‖²), S the skew gradients.
    package var gradientNorm: Double
    /// Seconds spent waiting for other ranks.
    package var communicationSeconds: Double
}

/// The steps of a job that trains: order of the data, learning rate, metrics.
package struct TrainingLoop {
    package let config: RunConfig
    /// nil where the steps look at no text.
    package let windows: Windows?
    /// Tokens of a step, over all ranks.
    package let tokensPerStep: Int
    /// As in "learning 3/100".
    package let verb: String
    /// The learning rate where `training.learning_rate` is auto.
    package let automaticRate: Double

    /// - Parameter tokensPerStep: nil for the tokens of a batch.
    package init(config: RunConfig, windows: Windows?, tokensPerStep: Int? = nil, verb: String, automaticRate: Double) {
        (self.config, self.windows, self.verb, self.automaticRate) = (config, windows, verb, automaticRate)
        self.tokensPerStep = tokensPerStep ?? config.training.batchSize * config.data.sequenceLength
    }

    /// Takes all steps that remain according to `checkpoints`, and saves checkpoints when they are due, while the next steps
    /// are taken. Collective.
    ///
    /// - Parameters:
    ///   - state: this rank's state after the steps taken, for a checkpoint.
    ///   - step: takes one step on this replica's part of the global batch; may add to the step's metrics.
    /// - Throws: ``StopRequested``, after a checkpoint, when asked to stop; what the steps and the checkpoints throw.
    package func run<World: Communicator>(
        _ context: JobContext<World>, _ checkpoints: RunCheckpoints<World>, state: () throws -> TrainingState,
        step take: (_ step: Int, _ batch: ReplicaBatch, _ learningRate: Float, _ metrics: inout JSONObject) throws ->
            StepResult
    ) throws -> StepRecord {
        // An unfinished step would be lost, so requests to stop wait for its end and for the checkpoint.
        try StopRequest.shielded { try takeSteps(context, checkpoints, state: state, step: take) }
    }

    private func takeSteps<World: Communicator>(
        _ context: JobContext<World>, _ checkpoints: RunCheckpoints<World>, state: () throws -> TrainingState,
        step take: (_ step: Int, _ batch: ReplicaBatch, _ learningRate: Float, _ metrics: inout JSONObject) throws ->
            StepResult
    ) throws -> StepRecord {
        let (training, groups, world) = (config.training, context.groups, context.communicator)
        let sent = groups.bytesSent
        var order = windows.map {
            BatchOrder(
                windows: $0.count, batchSize: training.batchSize,
                random: RandomStream(seed: UInt64(training.seed), stream: SeedStream.batchOrder))
        }
        func own(_ step: Int) -> [[Int32]] {
            let places = order?.sequences(step: step, rank: groups.replica, ranks: groups.dims.data) ?? []
            return places.compactMap { windows?[$0] }
        }
        var next: [[Int32]]?
        let schedule = LearningRate(training, automatic: automaticRate)
        let first = checkpoints.resumed?.manifest.step ?? 0
        var record = checkpoints.resumed?.manifest.record ?? StepRecord()
        defer { world.watchdog?.end() }
        func step(_ step: Int) throws {
            let begin = ContinuousClock.now
            world.watchdog?.begin("step \(step)", limit: .seconds(config.watchdog.step))
            let rate = schedule.rate(step: step)
            let batch = Trace.span(.data) {
                let sequences = next ?? own(step)
                let following = step + 1 < training.steps ? own(step + 1) : []
                next = following
                return ReplicaBatch(sequences, next: following)
            }
            var more = JSONObject()
            let result = try finishing(checkpoints) { try take(step, batch, Float(rate), &more) }
            let seconds = (.now - begin) / .seconds(1)
            if step == 0 { record.firstLoss = result.loss }
            record.lastLoss = result.loss
            if step > first || training.steps == first + 1 {
                record.timedSteps += 1
                record.timedSeconds += seconds
            }
            try Trace.span(.metrics) { try report(context, step, result, rate: rate, seconds: seconds, more) }
            try Trace.span(.checkpoint) { try checkpoints.poll() }
            let stop = try StopRequest.agreed(on: world)
            guard stop != nil || checkpoints.isDue(after: step + 1, of: training.steps) else { return }
            world.watchdog?.begin("the checkpoint after step \(step)", limit: .seconds(config.watchdog.checkpoint))
            try Trace.span(.checkpoint) {
                try checkpoints.save(state(), after: step + 1, record)
                if stop != nil { try checkpoints.finish() }
            }
            if let stop { throw StopRequested(signal: stop) }
        }
        for number in first..<training.steps { try Trace.span(.step, number) { try step(number) } }
        world.watchdog?.begin("the last checkpoint", limit: .seconds(config.watchdog.checkpoint))
        try Trace.span(.checkpoint) { try checkpoints.finish() }
        if training.steps > first { record.bytesSentPerStep = (groups.bytesSent - sent) / (training.steps - first) }
        return record
    }

    /// Adds a step's line to the metrics, and tells the user.
    private func report(
        _ context: JobContext<some Communicator>, _ step: Int, _ result: StepResult, rate: Double, seconds: Double,
        _ more: JSONObject
    ) throws {
        let tokens = Double(tokensPerStep)
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
            verb, step + 1, of: config.training.steps,
            "loss \(result.loss.formatted(decimals: 4))" + (tokens > 0 ? ", \(Int(tokens / seconds)) tokens/s" : ""))
    }

    /// Does a step. If it fails on all ranks alike, for example because it diverges, the previous checkpoint is still
    /// completed.
    private func finishing(
        _ checkpoints: RunCheckpoints<some Communicator>, _ step: () throws -> StepResult
    ) throws -> StepResult {
        do {
            return try step()
        } catch let error as any ReportableError where error.isCommon {
            try checkpoints.finish()
            throw error
        }
    }
}
