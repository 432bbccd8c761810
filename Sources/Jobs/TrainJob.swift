package import Collectives
internal import Compression
internal import Configuration
internal import Evaluation
internal import Models
package import Runs
internal import Support
internal import Trainer

/// Trains all parameters of a network on text, in full precision.
package struct TrainJob: Job {
    package static let name = ModelJob.train.rawValue

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
        let score = try run.trainedScore(run.network(trained))
        let after = score.perplexity
        let bytes = try run.write(trained, "trained")

        var results = JSONObject()
        let sizes = try context.communicator.agree {
            try [run.inputs.folder, context.writtenModel().folder].map { try ModelSizes($0).stored }
        }
        var scores = ScoreTable(.full, windows: run.evaluation.count, length: context.config.data.sequenceLength)
        scores.add(ScoreTable.fullPrecision, "full precision", .full, .reference(perplexity: before), sizes[0])
        scores.add("trained", "trained", .full, score, sizes[1])
        scores.add(to: &results)
        results["loss"] = record.loss
        results["model_bytes"] = .integer(bytes)
        var table = Table(columns: [
            "\(counted(run.evaluation.count, "window")) of \(context.config.data.sequenceLength) tokens", "perplexity",
        ])
        table.add(["before", before.formatted(decimals: 2)])
        table.add(["trained", after.formatted(decimals: 2)])
        try run.summarize(record, results, Improvement(before: before, after: after), table.text, timing: trainer.timing)
    }
}
