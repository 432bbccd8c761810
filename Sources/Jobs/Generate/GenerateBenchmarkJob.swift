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
        let shares = try world.allGather(min(1, world.coreShare() / Double(Team.threads)))
        let peaks = try world.allGather(measureProductPeak())
        let peak = peaks.reduce(0, +) / Double(peaks.count)
        var summary = RunSummary(
            job: Self.name, model: path, seed: config.training.seed, worldSize: world.size, dataParallel: 1,
            pipelineParallel: world.size, steps: settings.maxTokens, seconds: (.now - start) / .seconds(1),
            secondsPerStep: result.tokenSeconds.median, tokensPerStep: 1,
            peakMemoryBytesPerRank: try world.allGather(Int64(RunSummary.peakMemoryBytes)).map { Int($0) },
            bytesSentPerStep: world.size > 1 ? MemoryLayout<Float>.stride * shape.hiddenSize : 0,
            flopsPerStep: ModelCost(shape).forward(sequences: 1, length: 1),
            gemmPeakFlops: peak, floatPeakFlops: peak, openBLASCore: OpenBLAS.core, kernels: KernelSet.chosen,
            coreShare: shares.reduce(0, +) / Double(shares.count))
        summary.results["generate"] = result.json
        summary.results["product"] = .string(config.eval.product.rawValue)
        summary.results["key_bits"] = .integer(model.keys.bits)
        summary.results["value_bits"] = .integer(model.values.bits)
        try world.agree { try context.folder.write(summary) }
    }
}
