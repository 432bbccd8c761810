internal import Autograd
package import Collectives
internal import Compression
package import Configuration
internal import Evaluation
internal import HuggingFace
package import Models
internal import Parallelism
internal import Quantization
internal import Rotation
package import Runs
internal import Support
internal import TensorCore
internal import Trainer

/// Learns rotations for a model and shows their gain: perplexity and divergence from full precision, quantized by rounding to
/// nearest, with random Hadamard rotations, and with learned ones.
package struct RotateJob: Job {
    package static let name = ModelJob.rotate.rawValue

    package init() {}

    /// Checks that such a model can be rotated, and rounded as asked.
    package static func check(_ config: RunConfig, _ shape: Architecture, _ path: String) throws {
        try shape.checkRotatable(path)
        let recipe = QuantizationRecipe(config, shape)
        try recipe.checkRows(config.rotation)
        try recipe.checkGroups(learningWith: config.rotation, shape)
        if recipe.weights != nil {
            try config.checkExports(Execution(config: config, online: OnlineRotations(config, shape)), shape)
        }
    }

    /// Learns rotations, merges them, writes them and `model/`, and scores what was written. Collective.
    package func run(_ context: JobContext<some Communicator>) throws {
        let (config, groups, world) = (context.config, context.groups, context.communicator)
        let tokens = config.training.batchSize * config.data.sequenceLength
        let (run, (recipe, original)) = try LanguageModelRun.open(
            context, job: Self.name, needsTraining: config.readsText(.rotate)
        ) { inputs in
            try inputs.checkOrigin(ofRotations: config.rotation.path, context)
            try Self.check(config, inputs.folder.architecture, inputs.folder.path)
            let weights = try weights(inputs, context)
            try inputs.folder.checkRotatable(weights)
            let planTokens = RotationPlan.tokens(perStep: tokens, replicas: groups.dims.data)
            // Steps that do not run the network have no micro-batches.
            let dims = config.rotation.objective.runsNetwork ? groups.dims : nil
            return (try RotationRecipe(config, inputs.folder.architecture, planTokens: planTokens, dims: dims), weights)
        }
        let outcome = try learn(run, recipe, consume original)
        let rotations = outcome.rotations

        StoragePool.shared.trim()
        // While learning, R4 was in the down projections. Keeping a second set of them in memory would cost more than reading
        // again.
        let read = try world.agree { outcome.base.applied(to: try weights(run.inputs, context)) }
        // Returns gaps between matrices as read and as folded.
        StoragePool.shared.trim()
        // Each matrix is used twice, by the check and by the file, and made each time.
        let merged = read.merging(rotations, OnlineRotations(), run.model.architecture)
        // Balancing must not change the function, either.
        let stored = outcome.base.isBalanced ? try world.agree { try weights(run.inputs, context) } : read
        let invariance = try run.model.logitChange(outcome.windows[0], stored, merged, groups)
        try check(invariance, config.verify.tolerance)
        try world.agree {
            guard world.isRoot else { return }
            try write(rotations, run.inputs, context)
        }
        let (table, bytes) = try writeModel(read, merged, outcome, recipe, run)
        let result = RotationResult(
            table: table, loss: outcome.record?.loss, orthogonalityError: outcome.orthogonalityError,
            invarianceError: invariance, settings: config.quantization)
        try summarize(result, outcome, recipe, bytes, run)
    }

    /// Writes `model/`, rotated, with integers where weights are quantized, which are then read back and scored. Collective.
    ///
    /// - Parameters:
    ///   - read: this rank's stage with norms fused; `merged` with R1 and R2 as well.
    /// - Returns: the table with the row of the written model, and its bytes on rank 0.
    private func writeModel(
        _ read: Parameters<StoredTensor>, _ merged: Parameters<StoredTensor>, _ outcome: Outcome, _ recipe: RotationRecipe,
        _ run: LanguageModelRun<some Communicator>
    ) throws -> (table: ScoreTable, bytes: Int) {
        let (context, config, inputs) = (run.context, run.context.config, run.inputs)
        let type = try inputs.writtenType(config)
        let name = outcome.base.prefix + recipe.merged
        guard let quantizer = recipe.quantization.weights else {
            try noteRounding(type, merged, read, outcome, run)
            return (
                outcome.scores.table,
                try inputs.write(merged.dense, as: type, "\(name), weights not quantized", context)
            )
        }
        // Merged in the same order as for the scores.
        let packed = read.merging(outcome.rotations, recipe.online, run.model.architecture)
            .packed(WeightPlan(quantizer, run.model.architecture))
        let packing = try FolderPacking(
            WeightPlan(quantizer, run.model.architecture), inputs, Execution(config: config, online: recipe.online), packed,
            context.groups)
        let bytes = try inputs.write(
            packed, packing, as: type, "\(name), linears as packed \(quantizer.spec.bits)-bit integers", context)
        let score = try evaluate(
            try inputs.readBack(context).network(run.model), against: run.model.constantNetwork(read),
            windows: outcome.windows, context.groups)
        let size = try context.writtenSize()
        var table = outcome.scores.table
        table.add("written", "as written, \(type.frameworkName) elsewhere", table.bits, score, size)
        return (table, bytes)
    }

    /// Reports the effect of rounding the merged weights to a type of 16 bits. Collective.
    private func noteRounding(
        _ type: ElementType, _ merged: Parameters<StoredTensor>, _ read: Parameters<StoredTensor>, _ outcome: Outcome,
        _ run: LanguageModelRun<some Communicator>
    ) throws {
        guard type != .f32 else { return }
        try run.context.communicator.agree {
            guard type == .f16 else { return }
            let path = run.context.folder.file(RunFiles.model)
            for (name, value) in merged.named {
                try SafetensorsFile.checkRange(of: value.tensor, as: type, named: name, in: path)
            }
        }
        let rounded = merged.map { _, value in value.mappedRows { $0 = $0.rounded(to: type) } }
        let groups = run.context.groups
        let change = try run.model.logitChange(outcome.windows[0], read, rounded, groups)
        let score = try evaluate(
            run.model.constantNetwork(rounded), against: run.model.constantNetwork(read), windows: outcome.windows, groups)
        let before = outcome.scores.table.rows[0].score.perplexity
        run.context.reporter.note(
            "merged and rounded to \(type.frameworkName), full precision's perplexity is "
                + "\(score.perplexity.formatted(decimals: 3)) "
                + "instead of \(before.formatted(decimals: 3)), and the largest change of a logit "
                + "\(change.formatted(decimals: 4)) of the largest; model.dtype=f32 keeps more")
    }

    /// This rank's stage of the model, as stored in its files.
    private func weights(
        _ inputs: LanguageModelInputs, _ context: JobContext<some Communicator>
    ) throws -> Parameters<StoredTensor> {
        try inputs.folder.parameters(inputs.stages[context.groups.stage], storage: context.config.model.storage)
    }

    /// The results of learning.
    private struct Outcome {
        let rotations: Rotations
        /// The network that the rotations are merged into.
        let base: RotationBase
        /// max|RᵀR − I| over the rotations.
        let orthogonalityError: Double
        let scores: Scores
        /// The windows of the scores.
        let windows: [[Int32]]
        /// nil where nothing was learned.
        let record: StepRecord?
        let tokensPerStep: Int
        let timing: PipelineTiming
    }

    /// The ways to quantize the model, and whether learning improved it; nil where nothing was learned.
    private struct Scores {
        var table: ScoreTable
        var improvement: Improvement?
    }

    /// Learns, and scores before and after. Collective.
    ///
    /// - Parameter original: this rank's stage of the model, which is released before this returns.
    private func learn(
        _ run: LanguageModelRun<some Communicator>, _ recipe: RotationRecipe, _ original: consuming Parameters<StoredTensor>
    ) throws -> Outcome {
        let (context, config, model) = (run.context, run.context.config, run.model)
        var network = original
        try run.noteOrigin(ofRotations: config.rotation.path)
        for row in DimensionReport(model.architecture, merged: recipe.start, online: recipe.online).rows {
            context.reporter.note("  \(row.line)")
        }
        let text = try text(run, drawingFrom: network)
        let windows = try run.evaluationWindows(drawingFrom: network)
        var table = ScoreTable(NetworkBits(config.quantization), windows: windows.count, length: config.data.sequenceLength)
        let base = try RotationBase.of(network, run)
        let plan = try WeightPlan(config, model.architecture)
        // Nobody else holds it, so that it is folded matrix by matrix in its own memory.
        network = try table.addPlain(run, consume network, base, plan, recipe.quantization, windows).folding(recipe.online)
        StoragePool.shared.trim()
        let scorer = RotatedScorer(model: model, base: network, recipe: recipe, windows: windows)
        let before = try recipe.startRow.map { row in
            let score = try scorer.score(recipe.start, context.groups)
            context.reporter.note("\(row.label): perplexity \(score.perplexity.formatted(decimals: 2))")
            table.add(row.key, row.label, table.bits, score, try table.rotatedSize(run, recipe.quantization))
            return score
        }

        StoragePool.shared.trim()
        let learner: RotationLearner = try learner(run, recipe, base: network, text)
        let loop = TrainingLoop(
            config: config, windows: recipe.learner.objective.runsNetwork ? text : nil, tokensPerStep: learner.tokensPerStep,
            verb: "learning", automaticRate: TrainingSettings.automaticRate(config.rotation.objective))
        var record: StepRecord?
        if recipe.learns {
            record = try loop.run(context, run.checkpoints, state: { learner.state }) { step, batch, rate, metrics in
                let result = try learner.step(
                    step, batch, globalSequences: config.training.batchSize, learningRate: rate, context.groups)
                let error = try Trace.span(.cayley) { () throws(MPIError) in
                    try learner.orthogonalityError(over: context.communicator)
                }
                metrics["orthogonality_error"] = .double(error)
                return result
            }
        }
        try learner.finish()
        // Scoring does not need the steps' buffers.
        StoragePool.shared.trim()
        let improvement = try addResult(learner.rotations, before, to: &table, recipe, scorer, run)
        return Outcome(
            rotations: learner.rotations, base: base, orthogonalityError: learner.orthogonalityError,
            scores: Scores(table: table, improvement: improvement), windows: windows, record: record,
            tokensPerStep: loop.tokensPerStep, timing: learner.timing)
    }

    /// Adds the row of the rotations that are written, where they are not those at the start. Collective.
    ///
    /// - Parameter before: the score of those at the start; nil where nothing is rotated.
    private func addResult<World: Communicator>(
        _ rotations: Rotations, _ before: LanguageModelScore?, to table: inout ScoreTable, _ recipe: RotationRecipe,
        _ scorer: RotatedScorer, _ run: LanguageModelRun<World>
    ) throws -> Improvement? {
        let config = run.context.config
        guard let before, recipe.learns || config.rotation.starts > 1 else { return nil }
        let score = try scorer.score(rotations, run.context.groups)
        let size = try table.rotatedSize(run, recipe.quantization)
        guard recipe.learns else {
            table.add("chosen", "best of \(config.rotation.starts) starts", table.bits, score, size)
            return nil
        }
        try run.checkAlive(trained: score)
        table.add("learned", "learned", table.bits, score, size)
        return Improvement(before: before, after: score, remedy: config.weightRemedy)
    }

    /// Checks that logits have changed by no more than is allowed, relative to the largest; the same on all ranks.
    func check(_ invariance: Double, _ given: Double?) throws {
        // Written so that NaN fails, too.
        if invariance <= given ?? VerifySettings.exactTolerance { return }
        guard let given, invariance <= VerifySettings.exactTolerance else {
            throw TrainingError.invarianceBroken(
                error: invariance, tolerance: given ?? VerifySettings.exactTolerance)
        }
        let problem =
            "\(given) is less than rounding takes: the rotated model's logits differ by "
            + "\(invariance.short) of the largest; give more, or leave it at auto"
        throw AgreedError(ConfigurationError("verify.tolerance", problem))
    }

    private func write(
        _ rotations: Rotations, _ inputs: LanguageModelInputs, _ context: JobContext<some Communicator>
    ) throws {
        let metadata = RotationMetadata.make(context.config, modelDigest: try inputs.folder.checkpoint.digest())
        try rotations.write(to: context.folder.file(RunFiles.rotations), metadata: metadata)
        try rotations.writeTorchArchive(to: context.folder.file(RunFiles.rotationArchive))
    }

    private func summarize(
        _ result: RotationResult, _ outcome: Outcome, _ recipe: RotationRecipe, _ modelBytes: Int,
        _ run: LanguageModelRun<some Communicator>
    ) throws {
        let (context, config, record) = (run.context, run.context.config, outcome.record)
        let learner = recipe.learner
        let costs = RotationCost(run.model.architecture, learner.plan, hasR1: recipe.start.r1 != nil)
        let cost =
            learner.objective.runsNetwork
            ? costs.operationsPerStep(
                sequences: config.training.batchSize, length: config.data.sequenceLength,
                teacher: learner.objective == .divergence, weightGradients: learner.weightQuantizer != nil,
                r1: learner.learnsR1, r2: learner.learnsR2)
            : costs.operationsPerStep(
                storedTokens: learner.objective.readsStoredRows ? outcome.tokensPerStep : nil, r1: learner.learnsR1,
                r2: learner.learnsR2)
        let pipeline = try PipelineReport(
            outcome.timing, recipe.learner.microBatches, batchSize: config.training.batchSize, context.groups)
        var results = result.json
        pipeline.add(to: &results)
        try run.addReplicatedShare(to: &results, .rotate)
        let improvement = outcome.scores.improvement
        improvement.add(to: &results)
        let rotation: any ModelTransform = recipe.learns ? LearnedRotations() : FixedRotations()
        results["method"] = .string((outcome.base.transforms + [rotation]).method)
        results["model_bytes"] = .integer(modelBytes)
        let architecture = run.model.architecture
        results["products"] = recipe.quantization.weights.map {
            architecture.products(integer: WeightPlan($0, architecture).specs.count)
        }
        let (steps, seconds) = (record == nil ? 0 : config.training.steps, record?.secondsPerStep ?? 0)
        results["compression_seconds"] = .double(seconds * Double(steps))
        results["bits_per_weight"] = result.table.rows.last?.size.map { .double($0.bitsPerWeight) }
        let summary = try run.finish(
            MeasuredSteps(
                count: steps, seconds: seconds, tokens: outcome.tokensPerStep, bytesSent: record?.bytesSentPerStep,
                flops: cost), results)
        context.reporter.note("\n" + result.table.text)
        let warnings = [
            result.table.distanceWarning(config, .rotate),
            recipe.startRow == nil ? nil : result.table.rotationWarning(steps: recipe.learns ? "training.steps" : nil),
        ]
        for line in ([pipeline.line, improvement.line] + warnings).compactMap(\.self) { context.reporter.note("\n" + line) }
        var rates: [String] = []
        if record != nil {
            if outcome.tokensPerStep > 0 { rates.append("\(Int(summary.tokensPerSecond)) tokens/s, ") }
            let share = (100 * summary.modelFlopsUtilization).formatted(decimals: 0)
            rates.append("\(share) % of this machine's matrix-product peak; ")
        }
        context.reporter.note("\n" + rates.joined() + "results in \(context.folder.path)")
    }
}
