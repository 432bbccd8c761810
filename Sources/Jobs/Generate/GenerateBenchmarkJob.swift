package import Collectives
internal import Compression
internal import Configuration
internal import Generation
internal import LinearAlgebra
internal import Models
internal import Parallelism
package import Runs
internal import Support
internal import TensorCore

/// Measures how fast a model reads a prompt and generates tokens, and writes the result to a run folder. The ranks are stages
/// of the model.
package struct GenerateBenchmarkJob: Job {
    package static let name = "generate"
    package static let hasReplicas = false

    package init() {}

    /// Measures and writes `summary.json`. Collective.
    package func run(_ context: JobContext<some Communicator>) throws {
        let (config, settings, world) = (context.config, context.config.generate, context.communicator)
        let start = ContinuousClock.now
        let staged = try StagedFolder(config, context.groups.dims, world)
        let (shape, path) = (staged.shape, staged.folder.folder.path)
        let capacity = settings.bench.promptTokens + settings.maxTokens
        try world.agree {
            guard capacity <= shape.maximumPositions else {
                throw ConfigurationError(
                    "generate.bench.prompt_tokens",
                    "\(settings.bench.promptTokens) and generate.max_tokens \(settings.maxTokens) are more than the model's "
                        + "\(shape.maximumPositions) positions")
            }
            try context.folder.claim()
        }
        let model = try staged.model(config, positions: capacity, world)
        try world.agree { try context.folder.create(config, job: Self.name) }
        context.reporter.note("model \(path): \(shape.summary)")
        if let line = LanguageModelInputs.stageLine(context.groups.dims, staged.stages, shape) {
            context.reporter.note(line)
        }
        let result = try GenerationBenchmark(
            model, promptTokens: settings.bench.promptTokens, tokens: settings.maxTokens,
            repetitions: settings.bench.repetitions, seed: UInt64(config.training.seed), over: RankStages(world)
        ) { done in
            try StopRequest.check(on: world)
            context.reporter.progress("measuring", done + 1, of: settings.bench.repetitions)
        }
        context.reporter.note("\n" + result.text)
        let peak = measureProductPeak()
        let bytesSent = world.size > 1 ? MemoryLayout<Float>.stride * shape.hiddenSize : 0
        var summary = RunSummary(
            job: Self.name, model: path, seed: config.training.seed, dims: ParallelDims(data: 1, pipeline: world.size),
            seconds: (.now - start) / .seconds(1),
            MeasuredSteps(
                count: settings.maxTokens, seconds: result.tokenSeconds.median, tokens: 1, bytesSent: bytesSent,
                flops: ModelCost(shape).forward(sequences: 1, length: 1)),
            try MeasuredRanks(productFlops: peak, floatProductFlops: peak, over: world))
        summary.results["generate"] = result.json
        summary.results["product"] = .string(config.eval.product.rawValue)
        summary.results["key_bits"] = .integer(model.keys.bits)
        summary.results["value_bits"] = .integer(model.values.bits)
        try world.agree { try context.folder.write(summary) }
    }
}
