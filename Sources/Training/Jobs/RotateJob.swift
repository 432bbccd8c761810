internal import Autograd
package import Collectives
internal import Evaluation
internal import HuggingFace
internal import Models
internal import Parallelism
internal import Rotation
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
                    config, inputs.folder.configuration, planTokens: RotationPlan.tokens(perStep: tokens, replicas: groups.dims.data),
                    dims: groups.dims),
                try inputs.folder.parameters(inputs.stages[groups.stage], storage: config.model.storage).fusingNorms()
            )
        }
        let (inputs, model) = (run.inputs, run.model)
        try run.noteOrigin(ofRotations: config.rotation.path)
        for row in DimensionReport(model.configuration).rows { context.reporter.note("  \(row.line)") }
        let loop = try run.trainingLoop(
            "learning", automaticRate: TrainingSettings.automaticRate(config.rotation.objective), drawingFrom: original)
        let evaluation = try run.evaluationWindows(drawingFrom: original)
        let plain = try PlainScore(model, original, recipe.quantization, evaluation, groups)
        context.reporter.note(plain.line)

        let base = recipe.online.r4.map { original.rotatedDown(by: $0) } ?? original
        let scorer = RotatedScorer(model: model, base: base, recipe: recipe, windows: evaluation)
        let hadamard = try scorer.score(recipe.start, groups)
        context.reporter.note("Hadamard: perplexity \(hadamard.perplexity.formatted(decimals: 2))")

        StoragePool.shared.trim()
        let learner = RotationLearner(recipe.learner, model, base: base, online: recipe.online, from: recipe.start)
        if let state = try run.checkpoints.restoredState() { try learner.restore(state) }
        let record = try loop.run(context, run.checkpoints, state: { learner.state }) { step, sequences, rate, metrics in
            let result = try learner.step(
                step, sequences, globalSequences: config.training.batchSize, learningRate: rate, groups)
            metrics["orthogonality_error"] = .double(learner.orthogonalityError)
            return result
        }
        // The steps' buffers, and then the scores', are of no use to what follows.
        StoragePool.shared.trim()
        let learned = try scorer.score(learner.rotations, groups)
        // From here on the learner, and the network it has learned on, are of no use.
        let (rotations, timing) = (learner.rotations, learner.timing)
        let error = learner.orthogonalityError

        StoragePool.shared.trim()
        // Each matrix is used twice, by the check and by the file: it is made when its turn comes.
        let merged = original.map { _, value in value.deferred }.rotated(by: rotations, inputs.folder.configuration)
        let invariance = try model.logitChange(evaluation[0], original, merged, groups)
        guard invariance <= config.verify.tolerance else {
            throw TrainingError.invarianceBroken(error: invariance, tolerance: config.verify.tolerance)
        }
        let result = RotationResult(
            fullPrecisionPerplexity: plain.fullPrecision, roundToNearest: plain.rounded, hadamard: hadamard, learned: learned,
            firstLoss: record.firstLoss, lastLoss: record.lastLoss,
            orthogonalityError: error, invarianceError: invariance,
            bits: (config.quantization.weights.bits, config.quantization.activations.bits, config.quantization.kv.bits))
        try world.agree {
            guard world.isRoot else { return }
            try write(rotations, inputs, context)
        }
        try inputs.write(merged, context)
        try summarise(result, record, recipe, timing, run)
    }

    private func write(
        _ rotations: Rotations, _ inputs: LanguageModelInputs, _ context: JobContext<some Communicator>
    ) throws {
        let config = context.config
        let metadata = [
            "format": "pt", "weight_bits": String(config.quantization.weights.bits),
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
        let cost = RotationCost(run.model.configuration, recipe.learner.plan).operationsPerStep(
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
