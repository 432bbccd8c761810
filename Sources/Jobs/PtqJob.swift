internal import Autograd
package import Collectives
internal import Compression
package import Configuration
internal import Evaluation
internal import HuggingFace
package import Models
internal import Parallelism
internal import Rotation
package import Runs
internal import Support
internal import TensorCore
internal import TernarySVD
internal import Trainer

/// Replaces a model's linear layers by ternary factors, without training: post-training TSVD (arXiv 2308.07641, section 4).
///
/// Norms are not folded. Folding a gain into the layers that read it scales their columns, which balancing undoes: the balanced
/// matrix, and with it every trit, would be the same. So the written model has the same form as the checkpoint, including a
/// tied head.
package struct PtqJob: Job {
    package static let name = ModelJob.ptq.rawValue

    package init() {}

    /// Checks that the settings ask for a possible decomposition.
    package static func check(_ config: RunConfig) throws {
        guard config.ternary.path == nil else {
            throw ConfigurationError("ternary.path", "is for eval and qat; ptq makes factors of the model itself")
        }
        guard config.ternary.bits == nil || config.ternary.weighting != .none else {
            throw ConfigurationError("ternary.bits", "needs ternary.weighting=inputs or both, by which bits are divided")
        }
        try config.ternary.options(seed: config.training.seed).validate()
    }

    /// Checks that the model has the layers that the settings name.
    package static func check(_ config: RunConfig, _ shape: Architecture, _ path: String) throws {
        _ = try config.ternary.layers.choose(among: shape.linears)
    }

    /// Decomposes, writes `model/` and `ternary.safetensors`, and scores what was written. Collective.
    package func run(_ context: JobContext<some Communicator>) throws {
        let (config, groups, world) = (context.config, context.groups, context.communicator)
        let (run, (original, indices)) = try LanguageModelRun.open(
            context, job: Self.name, needsTraining: config.readsText(.ptq)
        ) {
            inputs in
            let weights = ModelWeights(
                try inputs.folder.parameters(inputs.stages[groups.stage], storage: config.model.storage))
            try inputs.folder.checkIsNoTernaryProduct(weights)
            return (weights, try weights.linears(matching: config.ternary.layers, of: inputs.folder.architecture.linears))
        }
        let (inputs, model) = (run.inputs, run.model)
        let windows = try run.evaluationWindows(drawingFrom: original.parameters)
        var before = try score(model.constantNetwork(original.parameters), against: nil, windows, context)
        try world.agree { try before.score.checkAlive(vocabulary: model.architecture.vocabularySize) }
        before.score = .reference(perplexity: before.score.perplexity)
        context.reporter.note("full precision: perplexity \(before.score.perplexity.formatted(decimals: 2))")

        let sent = groups.bytesSent
        let decomposing = ContinuousClock.now
        let finished = FinishedLayers(run: context.folder.path, config.ternary.options(seed: config.training.seed))
        let layers = try layers(of: original, indices, keeping: finished, run)
        let seconds = (.now - decomposing) / .seconds(1)
        let shared = groups.bytesSent - sent
        for layer in layers {
            context.events.publish(
                layer: layer.name, components: layer.factors.componentCount,
                ["relative_error": .double(layer.relativeError)])
        }
        let report = TernaryReport(try StageLayers.gather(layers, groups), of: model.architecture.linears)
        let bytes = try write(original, layers, report, inputs, context)
        // The written model is scored, run from its packed factors.
        let packed = try inputs.readBack(context)
        let after = try score(packed.network(model), against: original, windows, context)
        let (factors, sizes) = (report.factors, try ModelSizes(inputs.folder))
        let file = context.folder.file("\(RunFiles.model)/\(CompressedFolder.factorFileName)")
        var table = ScoreTable(.factors, windows: windows.count, length: config.data.sequenceLength)
        table.add(ScoreTable.fullPrecision, "full precision", .full, before.score, sizes.stored)
        if config.eval.compare {
            let written = try ModelSizes(inputs.folder, as: inputs.writtenType(config))
            try table.addIntegers(
                Set(layers.map(\.name)), of: original.parameters, all: Set(factors.keys), .none, model, written, windows, groups
            )
        }
        let (size, someBits) = (try context.writtenSize(), try world.agree { try sizes.bitsOfSome(file: file) })
        table.addTernary("ternary_ptq", "ternary", after.score, size)
        let result = Result(
            table: table, fullPrecision: before, ternary: after, report: report, decompositionSeconds: seconds,
            bytesSent: shared, windows: windows.count, modelBytes: bytes, someBits: someBits)
        try summarize(result, run)
    }

    /// This stage's layers, as `ternary.*` says. Collective.
    private func layers(
        of original: ModelWeights<StoredTensor>, _ indices: [Int], keeping finished: FinishedLayers,
        _ run: LanguageModelRun<some Communicator>
    ) throws -> [TernaryReport.Layer] {
        let (context, settings) = (run.context, run.context.config.ternary)
        if let bits = settings.bits {
            return try CalibratedTernary(run, original, indices, keeping: finished).digits(bits: bits)
        }
        let layers = try decompose(
            original, indices, settings.options(seed: context.config.training.seed), over: context.groups, keeping: finished,
            progress: { context.reporter.progress("decomposing", $0, of: $1) })
        guard settings.weighting != .none else { return layers }
        return try CalibratedTernary(run, original, indices, keeping: finished).descending(from: layers)
    }

    /// A network's perplexity on the windows, and the time that it took.
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
        /// Bytes that this rank has sent to share its layers.
        var bytesSent: Int
        var windows: Int
        /// Bytes of `model/`.
        var modelBytes: Int
        /// Bits per weight of only the ternary layers, where other layers stay dense.
        var someBits: Double?
    }

    /// Writes `model/` with packed factors, and `ternary.safetensors` beside it. Collective.
    ///
    /// - Returns: bytes of `model/`, on rank 0.
    private func write(
        _ original: ModelWeights<StoredTensor>, _ layers: [TernaryReport.Layer], _ report: TernaryReport,
        _ inputs: LanguageModelInputs,
        _ context: JobContext<some Communicator>
    ) throws -> Int {
        let isRoot = context.communicator.isRoot
        let source = try context.communicator.agree { isRoot ? try inputs.folder.checkpoint.digest() : nil }
        var origin = TernaryFile.Origin(source: source, targets: [source].compactMap(\.self))
        let own = Dictionary(uniqueKeysWithValues: layers.map { ($0.name, $0.factors) })
        let bytes = try inputs.write(
            original.parameters.packed(own), FolderPacking(factors: report.factors, origin: origin),
            as: try inputs.writtenType(context.config), "\(report.layers.count) linears as packed ternary factors", context)
        try context.communicator.agree {
            guard isRoot else { return }
            // The two models differ only in these layers, so that the factors belong to both.
            origin.targets.append(try context.writtenModel().folder.checkpoint.digest())
            try TernaryFile.write(report.factors, to: context.folder.file(RunFiles.factors), origin: origin)
        }
        return bytes
    }

    private func score(
        _ network: Network<some HookTransform>, against original: ModelWeights<StoredTensor>?, _ windows: [[Int32]],
        _ context: JobContext<some Communicator>
    ) throws -> Score {
        let start = ContinuousClock.now
        let result = try evaluate(
            network, against: original.map { network.model.constantNetwork($0.parameters) }, windows: windows, context.groups)
        return Score(score: result, seconds: (.now - start) / .seconds(1))
    }

    private func summarize(_ result: Result, _ run: LanguageModelRun<some Communicator>) throws {
        let (context, config) = (run.context, run.context.config)
        var results = JSONObject()
        result.table.add(to: &results)
        results["method"] = "ternary"
        results["sparsity"] = .string(config.ternary.sparsity.rawValue)
        results["compression_seconds"] = .double(result.decompositionSeconds)
        results["bits_per_weight"] = result.table.rows.last?.size.map { .double($0.bitsPerWeight) }
        results["ternary_bits_per_weight"] = result.someBits.map { .double($0) }
        results["products"] = run.model.architecture.products(ternary: result.report.layers.count)
        results["tolerance"] = config.ternary.bits == nil ? .double(config.ternary.tolerance) : nil
        results["decomposition_seconds"] = .double(result.decompositionSeconds)
        results["model_bytes"] = .integer(result.modelBytes)
        result.report.add(to: &results)
        // A step is a pass of the network over the evaluation windows. Ranks send only once, to share the factors.
        let forward = ModelCost(run.model.architecture).forward(sequences: result.windows, length: config.data.sequenceLength)
        try run.finish(
            MeasuredSteps(
                count: 2, seconds: (result.fullPrecision.seconds + result.ternary.seconds) / 2,
                tokens: result.windows * config.data.sequenceLength, bytesSent: result.bytesSent, flops: forward), results)

        context.reporter.note("\n" + result.report.table.text)
        context.reporter.note("\n" + result.table.text)
        if let bits = result.someBits {
            let count = counted(result.report.layers.count, "ternary layer")
            context.reporter.note("\nthe \(count) alone: \(bits.formatted(decimals: 2)) bits a weight")
        }
        for warning in [result.report.warning, result.table.distanceWarning(config, .ptq)].compactMap(\.self) {
            context.reporter.note("\n" + warning)
        }
        context.reporter.note(
            "\n\(result.report.cost); decomposed in \(result.decompositionSeconds.formatted(decimals: 1)) s; results in "
                + "\(context.folder.path)"
        )
    }
}
