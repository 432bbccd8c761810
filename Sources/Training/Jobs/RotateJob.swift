internal import Autograd
package import Collectives
internal import Evaluation
internal import HuggingFace
internal import Models
internal import Parallelism
internal import Rotation
internal import Support
internal import TensorCore

/// Learns rotations for a model and shows what they are worth: perplexity and divergence from full precision, quantised by
/// rounding to nearest, with random Hadamard rotations, and with learned ones.
package struct RotateJob: Job {
    package static let name = "rotate"

    package init() {}

    package func run(_ context: JobContext<some Communicator>) throws {
        let (config, groups, world) = (context.config, context.groups, context.communicator)
        let tokens = config.training.batchSize * config.data.sequenceLength
        let (run, (recipe, original)) = try LanguageModelRun.open(
            context, job: Self.name, needsTraining: true
        ) { inputs in
            (
                try RotationRecipe(
                    config, inputs.folder.architecture, planTokens: RotationPlan.tokens(perStep: tokens, replicas: groups.dims.data),
                    dims: groups.dims),
                try weights(inputs, context)
            )
        }
        let outcome = try learn(run, recipe, consume original)
        let rotations = outcome.rotations

        StoragePool.shared.trim()
        // Learning, R4 was in the down projections; a second set of them in memory all the time would cost more than reading again.
        let read = try world.agree { try weights(run.inputs, context) }
        // Each matrix is used twice, by the check and by the file: it is made when its turn comes.
        let merged = read.map { _, value in value.deferred }.rotated(by: rotations, run.model.architecture)
        let invariance = try run.model.logitChange(outcome.windows[0], read, merged, groups)
        guard invariance <= config.verify.tolerance else {
            throw TrainingError.invarianceBroken(error: invariance, tolerance: config.verify.tolerance)
        }
        let (plain, record) = (outcome.plain, outcome.record)
        let result = RotationResult(
            fullPrecisionPerplexity: plain.fullPrecision, roundToNearest: plain.rounded, hadamard: outcome.hadamard,
            learned: outcome.learned, firstLoss: record.firstLoss, lastLoss: record.lastLoss,
            orthogonalityError: outcome.orthogonalityError, invarianceError: invariance,
            bits: (config.quantization.weights.bits, config.quantization.activations.bits, config.quantization.kv.bits))
        try world.agree {
            guard world.isRoot else { return }
            try write(rotations, run.inputs, context)
        }
        try run.inputs.write(merged, context)
        try summarise(result, record, recipe, outcome.timing, run)
    }

    /// This rank's stage of the model as the files have it, norms fused.
    private func weights(
        _ inputs: LanguageModelInputs, _ context: JobContext<some Communicator>
    ) throws -> Parameters<StoredTensor> {
        try inputs.folder.parameters(inputs.stages[context.groups.stage], storage: context.config.model.storage).fusingNorms(inputs.folder.architecture)
    }

    /// What learning leaves behind.
    private struct Outcome {
        let rotations: Rotations
        /// max|RᵀR − I| over the rotations.
        let orthogonalityError: Double
        let plain: PlainScore
        let hadamard: LanguageModelScore, learned: LanguageModelScore
        /// What the scores were taken on.
        let windows: [[Int32]]
        let record: TrainingLoop.Record
        let timing: PipelineTiming
    }

    /// Learns, and scores what there was before and is after. Collective.
    ///
    /// - Parameter original: this rank's stage of the model; gone from memory when this returns.
    private func learn(
        _ run: LanguageModelRun<some Communicator>, _ recipe: RotationRecipe, _ original: consuming Parameters<StoredTensor>
    ) throws -> Outcome {
        let (context, config, model) = (run.context, run.context.config, run.model)
        var network = original
        try run.noteOrigin(ofRotations: config.rotation.path)
        for row in DimensionReport(model.architecture).rows { context.reporter.note("  \(row.line)") }
        let loop = try run.trainingLoop(
            "learning", automaticRate: TrainingSettings.automaticRate(config.rotation.objective), drawingFrom: network)
        let windows = try run.evaluationWindows(drawingFrom: network)
        let plain = try PlainScore(model, network, recipe.quantization, windows, context.groups)
        context.reporter.note(plain.line)

        if let r4 = recipe.online.r4 { network = network.rotatedDown(by: r4) }
        StoragePool.shared.trim()
        let scorer = RotatedScorer(model: model, base: network, recipe: recipe, windows: windows)
        let hadamard = try scorer.score(recipe.start, context.groups)
        context.reporter.note("Hadamard: perplexity \(hadamard.perplexity.formatted(decimals: 2))")

        StoragePool.shared.trim()
        let learner = RotationLearner(recipe.learner, model, base: network, online: recipe.online, from: recipe.start)
        if let state = try run.checkpoints.restoredState() { try learner.restore(state) }
        let record = try loop.run(context, run.checkpoints, state: { learner.state }) { step, sequences, rate, metrics in
            let result = try learner.step(
                step, sequences, globalSequences: config.training.batchSize, learningRate: rate, context.groups)
            metrics["orthogonality_error"] = .double(learner.orthogonalityError)
            return result
        }
        // The steps' buffers are of no use to the scores.
        StoragePool.shared.trim()
        return Outcome(
            rotations: learner.rotations, orthogonalityError: learner.orthogonalityError, plain: plain, hadamard: hadamard,
            learned: try scorer.score(learner.rotations, context.groups), windows: windows, record: record, timing: learner.timing)
    }

    private func write(
        _ rotations: Rotations, _ inputs: LanguageModelInputs, _ context: JobContext<some Communicator>
    ) throws {
        let config = context.config
        let metadata = [
            "format": "pt", "program": ProgramVersion.name, "weight_bits": String(config.quantization.weights.bits),
            "activation_bits": String(config.quantization.activations.bits), "kv_bits": String(config.quantization.kv.bits),
            "model_sha256": try inputs.folder.checkpoint.digest(), "steps": String(config.training.steps),
            "seed": String(config.training.seed),
        ]
        try rotations.write(to: context.folder.file("rotations.safetensors"), metadata: metadata)
        try rotations.writeTorchArchive(to: context.folder.file("R.bin"))
    }

    private func summarise(
        _ result: RotationResult, _ record: TrainingLoop.Record, _ recipe: RotationRecipe, _ timing: PipelineTiming,
        _ run: LanguageModelRun<some Communicator>
    ) throws {
        let (context, config) = (run.context, run.context.config)
        let cost = RotationCost(run.model.architecture, recipe.learner.plan).operationsPerStep(
            sequences: config.training.batchSize, length: config.data.sequenceLength,
            teacher: recipe.learner.objective == .divergence, weightGradients: recipe.learner.weightQuantizer != nil,
            r1: recipe.learner.learnsR1, r2: recipe.learner.learnsR2)
        let pipeline = try PipelineReport(
            timing, recipe.learner.microBatches, batchSize: config.training.batchSize, context.groups)
        var results = result.json
        pipeline.add(to: &results)
        let improvement = Improvement(before: result.hadamard.perplexity, after: result.learned.perplexity)
        improvement.add(to: &results)
        let summary = try run.finish(
            .init(
                steps: config.training.steps, secondsPerStep: record.secondsPerStep, tokensPerStep: run.tokensPerStep,
                bytesSentPerStep: record.bytesSentPerStep, flopsPerStep: cost), results)
        context.reporter.note("\n" + result.table.text)
        for line in [pipeline.line, improvement.warning].compactMap(\.self) { context.reporter.note("\n" + line) }
        context.reporter.note(
            "\n\(Int(summary.tokensPerSecond)) tokens/s, "
                + "\((100 * summary.modelFlopsUtilization).formatted(decimals: 0)) % of this machine's matrix-product peak; "
                + "results in \(context.folder.path)")
    }
}
