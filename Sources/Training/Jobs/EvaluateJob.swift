package import Collectives
internal import HuggingFace
internal import Evaluation
internal import LinearAlgebra
internal import Models
internal import Rotation

/// Perplexity of a model on windows of text, as it is and rounded to nearest as `quantization` says.
package struct EvaluateJob: Job {
    package static let name = "eval"

    package init() {}

    package func run(_ context: JobContext<some Communicator>) throws {
        let (config, world) = (context.config, context.communicator)
        let clock = ContinuousClock()
        let inputs = try world.agree {
            guard try config.layout(worldSize: world.size).pipeline == 1 else {
                throw ConfigurationError("parallel.pipeline", "eval runs data-parallel only; leave it at 1 or auto")
            }
            return try LanguageModelInputs(config, needsTraining: false)
        }
        let recipe = try world.agree { try RotationRecipe(config, inputs.folder.configuration, tokensPerRank: 1) }
        let parameters = try world.agree { try inputs.folder.parameters() }.fusingNorms()
        try world.agree { try context.folder.create(config) }
        context.reporter.note("model \(inputs.folder.path): \(inputs.folder.configuration.summary)")
        let model = Llama(inputs.folder.configuration, positions: config.data.sequenceLength)
        let windows = try inputs.evaluationWindows(model, parameters, context)
        let start = clock.now
        let score = try PlainScore(model, parameters, recipe.quantization, windows, world)
        let rotated = try config.rotation.path.map { _ in
            try RotatedScorer(
                model: model, base: recipe.online.r4.map { parameters.rotatedDown(by: $0) } ?? parameters, recipe: recipe,
                windows: windows
            ).score(recipe.start, world)
        }
        let seconds = (clock.now - start) / .seconds(1)

        var table = Table(columns: ["\(windows.count) windows of \(config.data.sequenceLength) tokens", "perplexity", "KL (nats)"])
        let divergence = score.rounded.klDivergence ?? 0
        table.add(["full precision", score.fullPrecision.formatted(decimals: 2), "0"])
        table.add(["round to nearest", score.rounded.perplexity.formatted(decimals: 2), divergence.formatted(decimals: 4)])
        if let rotated {
            table.add([
                "rotated", rotated.perplexity.formatted(decimals: 2), (rotated.klDivergence ?? 0).formatted(decimals: 4),
            ])
        }
        context.reporter.note("\n" + table.text)

        // Forward passes a window: the network alone, and each quantised one beside it.
        let passes = Double(rotated == nil ? 3 : 5)
        let operations = LlamaCost(inputs.folder.configuration).forward(sequences: windows.count, length: config.data.sequenceLength)
        let memory = try world.allGather(Int64(RunSummary.peakMemoryBytes)).map { Int($0) }
        var summary = RunSummary(
            job: Self.name, model: inputs.folder.path, seed: config.training.seed, worldSize: world.size,
            dataParallel: world.size, pipelineParallel: 1, steps: 1, seconds: seconds, secondsPerStep: seconds,
            tokensPerStep: windows.count * config.data.sequenceLength, peakMemoryBytesPerRank: memory, bytesSentPerStep: 0,
            flopsPerStep: passes * operations, gemmPeakFlops: measureProductPeak())
        var perplexity = JSONObject(), divergences = JSONObject()
        perplexity["full_precision"] = .double(score.fullPrecision)
        perplexity["rtn"] = .double(score.rounded.perplexity)
        divergences["rtn"] = .double(divergence)
        if let rotated {
            perplexity["rotated"] = .double(rotated.perplexity)
            divergences["rotated"] = .double(rotated.klDivergence ?? 0)
        }
        summary.results["perplexity"] = .object(perplexity)
        summary.results["kl_divergence"] = .object(divergences)
        try world.agree { try context.folder.write(summary) }
    }
}
