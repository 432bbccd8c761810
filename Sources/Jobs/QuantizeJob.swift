internal import Autograd
internal import Calibration
package import Collectives
internal import Compression
internal import Configuration
internal import Datasets
internal import Evaluation
internal import HuggingFace
internal import Models
internal import Parallelism
internal import Quantization
internal import Rotation
package import Runs
internal import Support
internal import TensorCore
internal import Trainer

/// Rounds a model's linears to integers of a few bits, rotated or as they are, and writes them packed: one command from a
/// folder to a folder.
package struct QuantizeJob: Job {
    package static let name = QuantizeSettings.job

    package init() {}

    package func run(_ context: JobContext<some Communicator>) throws {
        let (config, groups) = (context.config, context.groups)
        let (run, (recipe, original)) = try LanguageModelRun.open(
            context, job: Self.name, needsTraining: config.quantization.weights.method == .gptq
        ) { inputs in
            try inputs.checkOrigin(ofRotations: config.rotation.path, context)
            let weights = try inputs.folder.parameters(inputs.stages[groups.stage], storage: config.model.storage)
            let recipe = try QuantizeRecipe(config, inputs)
            if recipe.rotations != nil { try inputs.folder.checkRotatable(weights) }
            return (recipe, weights)
        }
        let model = run.model
        try run.noteOrigin(ofRotations: config.rotation.path)
        let windows = try run.evaluationWindows(drawingFrom: original)
        let start = ContinuousClock.now
        var table = ScoreTable(NetworkBits(config.quantization), windows: windows.count, length: config.data.sequenceLength)
        let plain = try PlainScore(model, original, recipe.plain, windows, groups)
        context.reporter.note(plain.line)
        let sizes = try ModelSizes(run.inputs.folder)
        table.add(ScoreTable.fullPrecision, "full precision", .full, plain.fullPrecision, sizes.stored)
        table.add("rtn", "round to nearest", table.bits, plain.rounded, sizes.rounded(by: recipe.plain.weights))

        let began = ContinuousClock.now
        let packed = try pack(recipe.base(original, model.architecture), recipe, run, drawingFrom: original)
        let seconds = (.now - began) / .seconds(1)
        let packing = try FolderPacking(recipe.plan, run.inputs, recipe.execution, packed, groups)
        let bytes = try run.inputs.write(
            packed, packing, as: try run.inputs.writtenType(config), recipe.description, context)
        let score = try evaluate(
            try run.inputs.readBack(context).network(model), against: model.constantNetwork(original), windows: windows, groups)
        try run.checkAlive(trained: score)
        let written = try context.communicator.agree {
            try ModelSizes(CompressedFolder(context.folder.file("model")).folder).stored
        }
        table.add("quantized", recipe.label, table.bits, score, written)

        var results = JSONObject()
        table.add(to: &results)
        results["bits"] = config.quantization.bitsJSON
        results["method"] = .string(recipe.method)
        results["bits_per_weight"] = .double(written.bitsPerWeight)
        results["model_bytes"] = .integer(bytes)
        results["compression_seconds"] = .double(seconds)
        results["products"] = model.architecture.products(integer: packing.integers.count)
        let forward = ModelCost(model.architecture).forward(sequences: windows.count, length: config.data.sequenceLength)
        try run.finish(
            .init(
                steps: 1, secondsPerStep: (.now - start) / .seconds(1),
                tokensPerStep: windows.count * config.data.sequenceLength, bytesSentPerStep: 0, flopsPerStep: 5 * forward),
            results)
        context.reporter.note("\n" + table.text)
        context.reporter.note("\nresults in \(context.folder.path)")
    }

    /// The linears as integers. Collective.
    ///
    /// - Parameters:
    ///   - base: this rank's stage, rotated where it is to be.
    ///   - original: what draws the calibration text where none is given.
    private func pack(
        _ base: Parameters<StoredTensor>, _ recipe: QuantizeRecipe, _ run: LanguageModelRun<some Communicator>,
        drawingFrom original: Parameters<StoredTensor>
    ) throws -> Parameters<CompressedValue> {
        let (context, config) = (run.context, run.context.config)
        guard config.quantization.weights.method == .gptq else { return base.packed(recipe.plan) }
        let windows = try run.calibrationWindows(drawingFrom: original)
        let stage = try Calibration(run.model, context.groups, mode: config.calibration.mode).quantize(
            base, windows: windows, hooks: recipe.execution.hooks(run.model.architecture), by: GPTQ()
        ) { recipe.plan[$0] }
        return base.map { name, value in
            stage.weights[String(name.dropLast(".weight".count))].map(CompressedValue.integer) ?? .dense(value)
        }
    }
}

/// What `quantize` does to a model, from its settings.
struct QuantizeRecipe {
    /// Rounding the network as stored, for comparison.
    let plain: QuantizationRecipe
    let plan: WeightPlan
    /// nil: the network as stored.
    let rotations: Rotations?
    let online: OnlineRotations
    let execution: Execution
    private let isGiven: Bool
    private let isCalibrated: Bool
    private let bits: Int

    /// - Throws: ``ConfigurationError`` for what cannot be quantized so; ``FileError`` for the rotations.
    init(_ config: RunConfig, _ inputs: LanguageModelInputs) throws {
        let architecture = inputs.folder.architecture
        bits = config.quantization.weights.bits
        guard bits < 16 else {
            throw ConfigurationError("quantization.weights.bits", "is 16: there is nothing to round; give 2 to 8")
        }
        guard config.quantization.weights.method != .stored else {
            throw ConfigurationError("quantization.weights.method", "stored is for eval; quantize rounds weights itself")
        }
        isCalibrated = config.quantization.weights.method == .gptq
        plain = QuantizationRecipe(config, architecture)
        plan = try WeightPlan(config, architecture)
        let rotation = try RotationRecipe(config, architecture, planTokens: inputs.evaluationTokens(config))
        isGiven = config.rotation.path != nil
        rotations = isGiven || config.quantize.rotation == .hadamard ? rotation.start : nil
        online = rotations != nil && config.quantize.online ? rotation.online : OnlineRotations()
        var execution = Execution(config: config, online: online)
        // Other programs have one range for a token, wherever it is read.
        if execution.activationBits < 16 { execution.activationPerHead = false }
        self.execution = execution
    }

    /// What is rounded: the stage as stored, or rotated with norms folded.
    func base(_ parameters: Parameters<StoredTensor>, _ architecture: Architecture) -> Parameters<StoredTensor> {
        guard let rotations else { return parameters }
        var base = parameters.fusingNorms(architecture)
        if let r4 = online.r4 { base = base.rotatedDown(by: r4) }
        return base.map { _, value in value.deferred }.rotated(by: rotations, architecture)
    }

    var label: String {
        (rotations == nil ? "" : isGiven ? "rotated, " : "Hadamard, ") + (isCalibrated ? "GPTQ, as written" : "as written")
    }
    var method: String {
        (rotations == nil ? "" : isGiven ? "learned rotations, " : "fixed rotations, ") + (isCalibrated ? "gptq" : "rtn")
    }
    var description: String {
        (rotations == nil ? "" : "rotated, ")
            + "linears as packed integers of \(bits) bits\(plan.hasOverrides ? " and overrides" : "")"
    }
}
