package import Collectives
internal import Configuration
internal import Evaluation
internal import Models
package import Runs
internal import Support
internal import Trainer

/// Trains all parameters of a network on text, in full precision.
package struct TrainJob: Job {
    package static let name = PlannedJob.train.rawValue

    package init() {}

    /// Trains all parameters and writes `model/`. Collective.
    package func run(_ context: JobContext<some Communicator>) throws {
        let run = try FullTrainingRun(context, job: Self.name)
        let before = try run.perplexity(run.fullPrecision)
        context.reporter.note("before: perplexity \(before.formatted(decimals: 2))")
        let trainer = try run.trainer(hooks: IdentityHooks())
        if let state = run.restoredState() { try trainer.restore(state) }
        let record = try run.train(trainer)
        let trained = try run.asWritten(trainer.weights.parameters)
        let after = try run.trainedScore(run.network(trained)).perplexity
        let bytes = try run.write(trained, "trained")

        var results = JSONObject()
        results["perplexity"] = ["full_precision": .double(before), "trained": .double(after)]
        results["loss"] = record.loss
        results["model_bytes"] = .integer(bytes)
        var table = Table(columns: [
            "\(run.evaluation.count) windows of \(context.config.data.sequenceLength) tokens", "perplexity",
        ])
        table.add(["before", before.formatted(decimals: 2)])
        table.add(["trained", after.formatted(decimals: 2)])
        try run.summarize(record, results, Improvement(before: before, after: after), table.text, timing: trainer.timing)
    }
}
