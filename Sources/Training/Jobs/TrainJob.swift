internal import Autograd
package import Collectives
internal import Evaluation
internal import HuggingFace
internal import LinearAlgebra
internal import Models
internal import TensorCore

/// Trains all parameters of a network on text, in full precision.
package struct TrainJob: Job {
    package static let name = "train"

    package init() {}

    package func run(_ context: JobContext<some Communicator>) throws {
        let start = ContinuousClock.now
        let run = try FullTrainingRun(context, job: Self.name)
        let before = try evaluate(run.fullPrecision, against: Network<Untouched>?.none, windows: run.evaluation, context.communicator)
        context.reporter.note("before: perplexity \(before.perplexity.formatted(decimals: 2))")
        let trainer = run.trainer(sites: Untouched())
        let record = try run.loop.run(trainer, context)
        let after = try evaluate(trainer.network, against: Network<Untouched>?.none, windows: run.evaluation, context.communicator)
        try context.communicator.agree {
            guard context.communicator.isRoot else { return }
            try run.inputs.folder.write(trainer.weights.parameters, as: .f32, to: context.folder.file("model"))
        }

        var results = JSONObject()
        results["perplexity"] = ["full_precision": .double(before.perplexity), "trained": .double(after.perplexity)]
        results["loss"] = record.loss
        var table = Table(columns: ["\(run.evaluation.count) windows of \(context.config.data.sequenceLength) tokens", "perplexity"])
        table.add(["before", before.perplexity.formatted(decimals: 2)])
        table.add(["trained", after.perplexity.formatted(decimals: 2)])
        try run.summarise(
            record, results, table, seconds: (.now - start) / .seconds(1), bytesPerStep: trainer.bytesPerStep)
    }
}
