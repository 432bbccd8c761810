internal import Collectives
internal import Compression
internal import Configuration
internal import Datasets
internal import Exports
internal import HuggingFace
internal import LinearAlgebra
internal import Models
internal import Parallelism
internal import Planning
internal import Runs
internal import Support
internal import TensorCore
internal import Trainer

/// A job on a language model, from its checked input to its summary: the common work of all such jobs before and after their
/// own.
struct LanguageModelRun<World: Communicator> {
    let context: JobContext<World>
    let job: String
    let inputs: LanguageModelInputs
    let model: Model
    let checkpoints: RunCheckpoints<World>
    private let start: ContinuousClock.Instant
    /// Operations per second of a large product in the precision of the job's products, on this rank.
    private let peak: Double
    /// The same in float32.
    private let floatPeak: Double

    /// Reads and checks the input on every rank, then makes the run folder, so that bad input leaves nothing behind.
    /// Collective.
    ///
    /// - Parameter prepare: the job's own preparation and checks of the input; must not communicate.
    static func open<Prepared>(
        _ context: JobContext<World>, job: String, needsTraining: Bool,
        from origin: LanguageModelInputs.StartingPoint = .floats,
        prepare: (LanguageModelInputs) throws -> Prepared
    ) throws -> (run: Self, prepared: Prepared) {
        let (config, world) = (context.config, context.communicator)
        let start = ContinuousClock.now
        let model = try ModelSource.folder(config.model.path, world)
        let inputs = try world.agree {
            let inputs = try LanguageModelInputs(
                model, config, context.groups.dims, job: job, needsTraining: needsTraining)
            try inputs.check(job, startsFrom: origin)
            try config.checkExports(from: inputs.folder)
            try config.checkExports(job: job, inputs.folder.architecture)
            return inputs
        }
        try world.agree { try context.folder.claim() }
        let prepared = try Trace.span(.readModel) { try world.agree { try prepare(inputs) } }
        let weights = inputs.folder.checkpoint
        let checkpoints = try RunCheckpoints(
            context, job: job, modelDigest: { try weights.digest() }, dataDigest: inputs.dataDigest,
            evaluationDigest: inputs.evaluationDigest)
        try world.agree {
            try context.folder.create(
                config, job: job, after: checkpoints.resumed?.manifest.step ?? 0, source: context.resume.runFolder)
        }
        let shape = inputs.folder.architecture
        context.reporter.note("model \(inputs.folder.path): \(shape.summary)")
        for line in inputs.dataNotes { context.reporter.note(line) }
        for warning in inputs.folder.warnings { context.reporter.note("warning: \(warning)") }
        if config.model.storage == .bf16, let matrix = try inputs.folder.matrixBeyondBFloat16() {
            context.reporter.note(
                "warning: model.storage=bf16 rounds what the folder holds more precisely, such as \(matrix), also where full "
                    + "precision is scored; model.storage=file leaves it as it is")
        }
        if let saved = checkpoints.resumed {
            context.reporter.note("resumes after step \(saved.manifest.step), from \(saved.path)")
        }
        if let line = inputs.stageLine(context.groups.dims) { context.reporter.note(line) }
        let precision = needsTraining ? config.training.precision : .float32
        if !precision.isNative {
            context.reporter.note(
                "warning: this processor has no instructions for training.precision=bfloat16: it takes longer than float32")
        }
        let floatPeak = measureProductPeak()
        let run = Self(
            context: context, job: job, inputs: inputs,
            model: inputs.folder.description.model(positions: config.data.sequenceLength),
            checkpoints: checkpoints, start: start,
            peak: precision == .float32 ? floatPeak : measureProductPeak(in: precision), floatPeak: floatPeak)
        return (run, prepared)
    }

    /// The steps over the training text, or over sequences sampled from `parameters`. Collective.
    func trainingLoop(
        _ verb: String, automaticRate: Double, drawingFrom parameters: Parameters<some TensorValue>
    ) throws -> TrainingLoop {
        TrainingLoop(
            config: context.config, windows: try inputs.trainingWindows(model, parameters, context), verb: verb,
            automaticRate: automaticRate)
    }

    /// The evaluation text's windows, or sequences sampled from `parameters`. Collective.
    func evaluationWindows(drawingFrom parameters: Parameters<some TensorValue>) throws -> [[Int32]] {
        try inputs.evaluationWindows(model, parameters, context)
    }

    /// The windows for calibration: the first sequences of the training text, or sequences sampled from `parameters`.
    /// Collective.
    func calibrationWindows(drawingFrom parameters: Parameters<some TensorValue>) throws -> [[Int32]] {
        let (text, config) = (try inputs.trainingWindows(model, parameters, context), context.config)
        let windows = (0..<min(text.count, config.calibration.sequences)).map { text[$0] }
        context.reporter.note("calibrating on \(counted(windows.count, "sequence")) of \(config.data.sequenceLength) tokens")
        return windows
    }

    /// Which work of steps that learn rotations, and that every rank could do itself, the ranks divide. Collective.
    func sharing(_ steps: Workload.RotationSteps) throws -> StepSharing {
        let workload = Workload(steps, context.config, model.architecture)
        return StepSharing(workload, layout(workload), on: try cluster())
    }

    /// These machines, with the speed that was measured at the start. Collective.
    private func cluster() throws -> Cluster {
        try Cluster(of: context.communicator, threads: Team.threads, productFlops: floatPeak)
    }

    private func layout(_ workload: Workload) -> Layout {
        let dims = context.groups.dims
        return workload.layout(data: dims.data, stages: dims.pipeline)
    }

    /// Adds `replicated_flops_share` to a job's part of `summary.json`. Collective.
    func addReplicatedShare(to results: inout JSONObject, _ job: ModelJob) throws {
        let planner = Planner(Workload(job, context.config, model.architecture), try cluster())
        results["replicated_flops_share"] = .double(planner.replicatedShare(layout(planner.workload)))
    }

    /// Tokens of a training step, over all ranks.
    var tokensPerStep: Int { context.config.training.batchSize * context.config.data.sequenceLength }

    /// Gathers the ranks' measurements, writes `summary.json`, and only then removes the layers kept for a resumption: until a
    /// run has ended, its command begins anew and needs them. Collective.
    @discardableResult
    func finish(_ steps: MeasuredSteps, _ results: JSONObject) throws -> RunSummary {
        let (config, world) = (context.config, context.communicator)
        let sent = Int(try world.allReduce(Int64(steps.bytesSent ?? -1), .max))
        var steps = steps
        steps.bytesSent = sent < 0 ? nil : sent
        let ranks = try MeasuredRanks(productFlops: peak, floatProductFlops: floatPeak, over: world)
        var summary = RunSummary(
            job: job, model: inputs.folder.path, seed: config.training.seed, dims: context.groups.dims,
            seconds: (.now - start) / .seconds(1), steps, ranks, results)
        summary.results["data"] = .object(inputs.dataSummary)
        summary.results["placement"] = try Placement(of: world).json
        if !checkpoints.earlier.isEmpty {
            summary.results["earlier_steps"] = .array(checkpoints.earlier.map { .string($0) })
        }
        let cost = checkpoints.cost
        summary.results["checkpoints"] = [
            "written": .integer(cost.count), "stall_seconds": .double(cost.stallSeconds),
            "final_seconds": .double(cost.finalSeconds),
        ]
        try world.agree {
            guard world.isRoot else { return }
            try writeCard(results, in: RunFiles.model)
            if config.model.dense { try writeCard(results, in: RunFiles.dense) }
        }
        // Once the summary exists the run has ended and can no longer be stopped.
        try StopRequest.check(on: world)
        try StopRequest.shielded {
            try world.agree {
                try context.folder.write(summary)
                if world.isRoot { try removeTree(context.folder.file(RunFiles.finishedLayers)) }
            }
        }
        let exports = RunExports(config: config, folder: context.folder, reporter: context.reporter)
        try world.agree { if world.isRoot { try exports.makeMissing() } }
        return summary
    }

    /// If the job has written a model of this name, writes its origin and expected scores beside it.
    private func writeCard(_ results: JSONObject, in name: String) throws {
        let (config, folder) = (context.config, context.folder.file(name))
        guard PathKind(folder + "/config.json") == .file else { return }
        let length = config.data.sequenceLength
        let windows =
            "\(counted(inputs.evaluationTokens(config) / length, "window")) of \(length) tokens of "
            + (config.data.eval.path ?? "sequences that the model draws itself")
        let written = try CompressedFolder(folder)
        let card = ModelCard(
            job: job, config, source: inputs.folder.path, sourceDigest: try inputs.folder.checkpoint.digest(), results,
            windows: windows, isShared: written.isShared,
            sharedFormat: try SharedForm.format(of: written, isPadded: !config.quantization.weights.symmetric),
            isPacked: !written.isPlain, isCopy: name != RunFiles.model,
            ranks: context.communicator.size, earlier: checkpoints.earlier)
        try card.write(to: folder)
    }
}
