package import Collectives
internal import HuggingFace
internal import Evaluation
internal import Models
internal import Parallelism
internal import Rotation
internal import TensorCore
internal import TernarySVD

/// Perplexity of a model on windows of text, as it is, rounded to nearest as `quantization` says, and with the rotations or the ternary
/// factors given.
package struct EvaluateJob: Job {
    package static let name = "eval"

    package init() {}

    package func run(_ context: JobContext<some Communicator>) throws {
        let (config, groups) = (context.config, context.groups)
        let (run, (recipe, original, ternary)) = try LanguageModelRun.open(
            context, job: Self.name, needsTraining: false
        ) { inputs in
            let parameters = try inputs.folder.parameters(inputs.stages[groups.stage], storage: config.model.storage)
            let ternary = try config.ternary.path.map { path in
                let factors = try TernaryFile.read(path)
                try factors.check(against: inputs.folder.architecture.linears, file: path)
                var weights = ModelWeights(parameters.map { $1.tensor })
                weights.replace(by: factors)
                return weights.parameters
            }
            return (
                try RotationRecipe(config, inputs.folder.architecture, planTokens: inputs.evaluationTokens(config)),
                parameters.fusingNorms(inputs.folder.architecture), ternary
            )
        }
        try run.noteOrigin(ofRotations: config.rotation.path)
        let model = run.model
        var parameters = consume original
        let windows = try run.evaluationWindows(drawingFrom: parameters)
        let start = ContinuousClock.now
        let sent = groups.bytesSent
        let score = try PlainScore(model, parameters, recipe.quantization, windows, groups)
        let ternaryScore = try ternary.map {
            try evaluate(model.constantNetwork($0), against: model.constantNetwork(parameters), windows: windows, groups)
        }
        var rotated: LanguageModelScore?
        if config.rotation.path != nil {
            if let r4 = recipe.online.r4 { parameters = parameters.rotatedDown(by: r4) }
            rotated = try RotatedScorer(model: model, base: parameters, recipe: recipe, windows: windows).score(recipe.start, groups)
        }
        let seconds = (.now - start) / .seconds(1)

        var table = Table(columns: ["\(windows.count) windows of \(config.data.sequenceLength) tokens", "perplexity", "KL (nats)"])
        let divergence = score.rounded.klDivergence ?? 0
        table.add(["full precision", score.fullPrecision.formatted(decimals: 2), "0"])
        table.add(["round to nearest", score.rounded.perplexity.formatted(decimals: 2), divergence.formatted(decimals: 4)])
        if let rotated {
            table.add([
                "rotated", rotated.perplexity.formatted(decimals: 2), (rotated.klDivergence ?? 0).formatted(decimals: 4),
            ])
        }
        if let ternaryScore {
            table.add([
                "ternary", ternaryScore.perplexity.formatted(decimals: 2), (ternaryScore.klDivergence ?? 0).formatted(decimals: 4),
            ])
        }
        context.reporter.note("\n" + table.text)

        // Forward passes a window: the network alone, and each quantised one beside it.
        let passes = 3 + (rotated == nil ? 0.0 : 2) + (ternaryScore == nil ? 0.0 : 2)
        let operations = ModelCost(model.architecture).forward(sequences: windows.count, length: config.data.sequenceLength)
        var perplexity = JSONObject(), divergences = JSONObject(), results = JSONObject()
        perplexity["full_precision"] = .double(score.fullPrecision)
        perplexity["rtn"] = .double(score.rounded.perplexity)
        divergences["rtn"] = .double(divergence)
        if let rotated {
            perplexity["rotated"] = .double(rotated.perplexity)
            divergences["rotated"] = .double(rotated.klDivergence ?? 0)
        }
        if let ternaryScore {
            perplexity["ternary"] = .double(ternaryScore.perplexity)
            divergences["ternary"] = .double(ternaryScore.klDivergence ?? 0)
        }
        results["perplexity"] = .object(perplexity)
        results["kl_divergence"] = .object(divergences)
        try run.finish(
            .init(
                steps: 1, secondsPerStep: seconds, tokensPerStep: windows.count * config.data.sequenceLength,
                bytesSentPerStep: groups.bytesSent - sent, flopsPerStep: passes * operations), results)
    }
}
