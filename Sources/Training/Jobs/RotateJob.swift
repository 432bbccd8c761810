internal import Autograd
package import Collectives
internal import Evaluation
internal import HuggingFace
internal import LinearAlgebra
internal import Models
internal import Quantization
internal import Rotation
internal import TensorCore

/// Learns rotations for a model and shows what they are worth: perplexity and divergence from full precision, quantised by
/// rounding to nearest, with random Hadamard rotations, and with learned ones.
package struct RotateJob: Job {
    package static let name = "rotate"

    package init() {}

    package func run(_ context: JobContext<some Communicator>) throws {
        let (config, world) = (context.config, context.communicator)
        let clock = ContinuousClock()
        let start = clock.now
        let inputs = try world.agree {
            guard try config.layout(worldSize: world.size).pipeline == 1 else {
                throw ConfigurationError("parallel.pipeline", "rotate runs data-parallel only; leave it at 1 or auto")
            }
            return try LanguageModelInputs(config, needsTraining: true)
        }
        let recipe = try world.agree {
            try RotationRecipe(config, inputs.folder.configuration, tokensPerRank: tokensPerRank(config, world))
        }
        let original = try world.agree { try inputs.folder.parameters() }.fusingNorms()
        try world.agree { try context.folder.create(config) }
        describe(inputs, context)

        let model = Llama(inputs.folder.configuration, positions: config.data.sequenceLength)
        let peak = measureProductPeak()
        let windows = try inputs.trainingWindows(model, original, context)
        let evaluation = try inputs.evaluationWindows(model, original, context)
        let plain = try PlainScore(model, original, recipe.quantization, evaluation, world)
        context.reporter.note(plain.line)

        let base = recipe.online.r4.map { original.rotatedDown(by: $0) } ?? original
        let scorer = RotatedScorer(model: model, base: base, recipe: recipe, windows: evaluation)
        let hadamard = try scorer.score(recipe.start, world)
        context.reporter.note("Hadamard: perplexity \(hadamard.perplexity.formatted(decimals: 2))")

        StoragePool.shared.trim()
        let learner = RotationLearner(recipe.learner, model, base: base, online: recipe.online, from: recipe.start)
        let training = try learn(learner, windows, context)
        let learned = try scorer.score(learner.rotations, world)

        let merged = original.rotated(by: learner.rotations, inputs.folder.configuration)
        let sample = evaluation[0]
        let invariance = relativeLogitChange(model.logits(sample, original), model.logits(sample, merged))
        guard invariance <= config.verify.tolerance else {
            throw TrainingError.invarianceBroken(error: invariance, tolerance: config.verify.tolerance)
        }
        let result = RotationResult(
            fullPrecisionPerplexity: plain.fullPrecision, roundToNearest: plain.rounded, hadamard: hadamard, learned: learned,
            firstLoss: training.firstLoss, lastLoss: training.lastLoss,
            orthogonalityError: learner.rotations.named.map { Double(orthogonalityError($0.tensor)) }.max() ?? 0,
            invarianceError: invariance,
            bits: (config.quantization.weights.bits, config.quantization.activations.bits, config.quantization.kv.bits))
        try world.agree {
            guard world.isRoot else { return }
            try write(learner.rotations, merged, inputs, context)
        }
        try summarise(result, training, peak: peak, seconds: (clock.now - start) / .seconds(1), recipe, learner, inputs, context)
    }

    private func tokensPerRank(_ config: RunConfig, _ world: some Communicator) -> Int {
        config.data.sequenceLength * slice(of: config.training.batchSize, rank: 0, ranks: world.size).count
    }

    private func describe(_ inputs: LanguageModelInputs, _ context: JobContext<some Communicator>) {
        context.reporter.note("model \(inputs.folder.path): \(inputs.folder.configuration.summary)")
        for row in DimensionReport(inputs.folder.configuration).rows { context.reporter.note("  \(row.line)") }
    }

    private struct Training {
        var firstLoss = 0.0
        var lastLoss = 0.0
        /// Of every step but the first, which also fills the memory pool.
        var seconds: [Double] = []
    }

    private func learn(
        _ learner: RotationLearner, _ windows: Windows, _ context: JobContext<some Communicator>
    ) throws -> Training {
        let (config, world) = (context.config, context.communicator)
        var order = BatchOrder(
            windows: windows.count, batchSize: config.training.batchSize,
            random: RandomStream(seed: UInt64(config.training.seed), stream: SeedStream.batchOrder))
        let schedule = LearningRate(config.training, automatic: TrainingSettings.automaticRate(config.rotation.objective))
        let clock = ContinuousClock()
        var training = Training()
        for step in 0..<config.training.steps {
            let begin = clock.now
            let rate = schedule.rate(step: step)
            let own = order.sequences(step: step, rank: world.rank, ranks: world.size).map { windows[$0] }
            let result = try learner.step(
                step, own, globalSequences: config.training.batchSize, learningRate: Float(rate), world)
            let seconds = (clock.now - begin) / .seconds(1)
            if step == 0 { training.firstLoss = result.loss }
            training.lastLoss = result.loss
            if step > 0 || config.training.steps == 1 { training.seconds.append(seconds) }
            let tokens = Double(config.training.batchSize * config.data.sequenceLength)
            var line = JSONObject()
            line["step"] = .integer(step)
            line["loss"] = .double(result.loss)
            line["lr"] = .double(rate)
            line["grad_norm"] = .double(result.gradientNorm)
            line["tokens_per_second"] = .double(tokens / seconds)
            line["communication_seconds"] = .double(result.communicationSeconds)
            line["orthogonality_error"] = .double(learner.orthogonalityError)
            try context.folder.append(line)
            context.reporter.progress(
                "learning", step + 1, of: config.training.steps,
                "loss \(result.loss.formatted(decimals: 4)), \(Int(tokens / seconds)) tokens/s")
        }
        return training
    }

    private func write(
        _ rotations: Rotations, _ merged: LlamaParameters<Tensor>, _ inputs: LanguageModelInputs,
        _ context: JobContext<some Communicator>
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
        try inputs.folder.write(merged, as: .f32, to: context.folder.file("model"))
    }

    private func summarise(
        _ result: RotationResult, _ training: Training, peak: Double, seconds: Double, _ recipe: RotationRecipe,
        _ learner: RotationLearner, _ inputs: LanguageModelInputs, _ context: JobContext<some Communicator>
    ) throws {
        let (config, world) = (context.config, context.communicator)
        let cost = RotationCost(inputs.folder.configuration, recipe.learner.plan).operationsPerStep(
            sequences: config.training.batchSize, length: config.data.sequenceLength,
            teacher: recipe.learner.objective == .divergence, weightGradients: recipe.learner.weightQuantizer != nil,
            r1: recipe.learner.learnsR1, r2: recipe.learner.learnsR2)
        let memory = try world.allGather(Int64(RunSummary.peakMemoryBytes)).map { Int($0) }
        let peaks = try world.allGather(peak)
        var summary = RunSummary(
            job: Self.name, model: inputs.folder.path, seed: config.training.seed, worldSize: world.size,
            dataParallel: world.size, pipelineParallel: 1, steps: config.training.steps, seconds: seconds,
            secondsPerStep: training.seconds.reduce(0, +) / Double(max(1, training.seconds.count)),
            tokensPerStep: config.training.batchSize * config.data.sequenceLength, peakMemoryBytesPerRank: memory,
            bytesSentPerStep: world.size > 1 ? learner.bytesPerStep : 0, flopsPerStep: cost,
            gemmPeakFlops: peaks.reduce(0, +) / Double(peaks.count))
        summary.results = result.json
        try world.agree { try context.folder.write(summary) }
        context.reporter.note("\n" + result.table.text)
        context.reporter.note(
            "\n\(Int(Double(summary.tokensPerStep) / summary.secondsPerStep)) tokens/s, "
                + "\((100 * summary.modelFlopsUtilization).formatted(decimals: 0)) % of this machine's matrix-product peak; "
                + "results in \(context.folder.path)")
    }
}
