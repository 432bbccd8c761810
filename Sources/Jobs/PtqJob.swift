internal import Autograd
package import Collectives
internal import Configuration
internal import Evaluation
internal import HuggingFace
internal import Models
internal import Parallelism
internal import Rotation
package import Runs
internal import Support
internal import TensorCore
internal import TernarySVD
internal import Trainer

/// Replaces a model's linear layers by ternary factors, without training: post-training TSVD (arXiv 2308.07641, section 4).
///
/// Norms are left as they are. Folding a gain into the layers that read it scales their columns, which balancing undoes: the
/// balanced matrix, and with it every trit, would be the same. What is written then has the checkpoint's own shape, tied head
/// included.
package struct PtqJob: Job {
    package static let name = PlannedJob.ptq.rawValue

    package init() {}

    package func run(_ context: JobContext<some Communicator>) throws {
        let (config, groups, world) = (context.config, context.groups, context.communicator)
        let (run, (original, indices)) = try LanguageModelRun.open(context, job: Self.name, needsTraining: false) { inputs in
            guard config.ternary.path == nil else {
                throw ConfigurationError("ternary.path", "is for eval and qat; ptq makes factors of the model itself")
            }
            try config.ternary.options(seed: config.training.seed).validate()
            let weights = ModelWeights(try inputs.folder.parameters(inputs.stages[groups.stage]))
            try inputs.folder.checkIsNoTernaryProduct(weights)
            return (weights, try weights.linears(matching: config.ternary.layers, of: inputs.folder.architecture.linears))
        }
        let (inputs, model) = (run.inputs, run.model)
        let windows = try run.evaluationWindows(drawingFrom: original.parameters)
        var before = try score(model, original, against: nil, windows, context)
        try world.agree { try before.score.checkAlive(vocabulary: model.architecture.vocabularySize) }
        before.score.klDivergence = 0
        context.reporter.note("full precision: perplexity \(before.score.perplexity.formatted(decimals: 2))")

        let sent = groups.bytesSent
        let decomposing = ContinuousClock.now
        let options = config.ternary.options(seed: config.training.seed)
        let finished = FinishedLayers(run: context.folder.path, options)
        let layers = try decompose(
            original, indices, options, over: groups, keeping: finished,
            progress: { context.reporter.progress("decomposing", $0, of: $1) })
        let seconds = (.now - decomposing) / .seconds(1)
        let shared = groups.bytesSent - sent
        var ternary = original
        ternary.replace(indices, by: layers)
        let after = try score(model, ternary, against: original, windows, context)

        for layer in layers {
            context.events.publish(
                layer: layer.name, ["rank": .integer(layer.factors.rank), "relative_error": .double(layer.relativeError)])
        }
        let report = TernaryReport(try StageLayers.gather(layers, groups), of: model.architecture.linears)
        let bytes = try inputs.write(
            ternary.parameters, as: try inputs.writtenType(config),
            "the ternary layers' products, dense, which ternary.safetensors stands for", context)
        try world.agree {
            guard world.isRoot else { return }
            // Nothing but the layers themselves differs between the two models, so that the factors belong to both.
            let digests = try [inputs.folder, ModelFolder(context.folder.file("model"))].map { try $0.checkpoint.digest() }
            try TernaryFile.write(
                report.factors, to: context.folder.file(TernaryReport.fileName),
                origin: TernaryFile.Origin(source: digests[0], targets: digests))
            try finished.remove()
        }
        let (factors, sizes) = (report.factors, try ModelSizes(inputs.folder))
        var table = ScoreTable(.factors, windows: windows.count, length: config.data.sequenceLength)
        table.add(ScoreTable.fullPrecision, "full precision", .full, before.score, sizes.stored)
        if config.eval.compare {
            try table.addIntegers(
                Set(layers.map(\.name)), of: original.parameters, all: Set(factors.keys), .none, model, sizes, windows, groups)
        }
        table.addTernary("ternary_ptq", "ternary", after.score, sizes.ternary(factors))
        let result = Result(
            table: table, fullPrecision: before, ternary: after, report: report, decompositionSeconds: seconds,
            bytesSent: shared,
            windows: windows.count, modelBytes: bytes)
        try summarise(result, run)
    }

    /// A network's perplexity on the windows, and how long it took.
    private struct Score {
        var score: LanguageModelScore
        var seconds: Double
    }

    private struct Result {
        var table: ScoreTable
        var fullPrecision: Score
        var ternary: Score
        var report: TernaryReport
        var decompositionSeconds: Double
        /// By this rank, to share its layers.
        var bytesSent: Int
        var windows: Int
        /// Of `model/`.
        var modelBytes: Int
    }

    private func score(
        _ model: Model, _ weights: ModelWeights, against original: ModelWeights?, _ windows: [[Int32]],
        _ context: JobContext<some Communicator>
    ) throws -> Score {
        let start = ContinuousClock.now
        let network = Network(
            model: model, parameters: weights.parameters { _, tensor in Variable(constant: tensor) }, hooks: IdentityHooks())
        let result = try evaluate(
            network, against: original.map { model.constantNetwork($0.parameters) }, windows: windows, context.groups)
        return Score(score: result, seconds: (.now - start) / .seconds(1))
    }

    private func summarise(_ result: Result, _ run: LanguageModelRun<some Communicator>) throws {
        let (context, config) = (run.context, run.context.config)
        var results = JSONObject()
        result.table.add(to: &results)
        results["method"] = "ternary"
        results["compression_seconds"] = .double(result.decompositionSeconds)
        results["bits_per_weight"] = result.table.rows.last?.size.map { .double($0.bitsPerWeight) }
        results["tolerance"] = .double(config.ternary.tolerance)
        results["decomposition_seconds"] = .double(result.decompositionSeconds)
        results["model_bytes"] = .integer(result.modelBytes)
        result.report.add(to: &results)
        // A step is a pass of the network over the evaluation windows. What the ranks send is sent once, to share the factors.
        let forward = ModelCost(run.model.architecture).forward(sequences: result.windows, length: config.data.sequenceLength)
        try run.finish(
            .init(
                steps: 2, secondsPerStep: (result.fullPrecision.seconds + result.ternary.seconds) / 2,
                tokensPerStep: result.windows * config.data.sequenceLength, bytesSentPerStep: result.bytesSent,
                flopsPerStep: forward), results)

        context.reporter.note("\n" + result.report.table.text)
        context.reporter.note("\n" + result.table.text)
        if let warning = result.report.warning { context.reporter.note("\n" + warning) }
        context.reporter.note(
            "\n\(result.report.cost); decomposed in \(result.decompositionSeconds.formatted(decimals: 1)) s; results in \(context.folder.path)"
        )
    }
}
