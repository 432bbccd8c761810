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
            context, job: Self.name,
            needsTraining: config.quantization.weights.method == .gptq || config.quantize.recipe == .auto
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
        let made = try Trace.span(.quantizeWeights) { try make(recipe, run, original) }
        let seconds = (.now - began) / .seconds(1)
        let packed = made.packed
        let packing = try FolderPacking(recipe.plan, run.inputs, made.execution, packed, groups)
        let bytes = try run.inputs.write(
            packed, packing, as: try run.inputs.writtenType(config), made.names.description, context)
        let score = try evaluate(
            try run.inputs.readBack(context).network(model), against: model.constantNetwork(original), windows: windows, groups)
        try run.checkAlive(trained: score)
        let written = try context.communicator.agree {
            try ModelSizes(CompressedFolder(context.folder.file("model")).folder).stored
        }
        table.add("quantized", made.names.label, table.bits, score, written)

        var results = JSONObject()
        table.add(to: &results)
        results["bits"] = config.quantization.bitsJSON
        results["method"] = .string(made.names.method)
        results["bits_per_weight"] = .double(written.bitsPerWeight)
        results["model_bytes"] = .integer(bytes)
        results["compression_seconds"] = .double(seconds)
        results["recipes"] = made.search?.json
        results["products"] = model.architecture.products(integer: packing.integers.count)
        let forward = ModelCost(model.architecture).forward(sequences: windows.count, length: config.data.sequenceLength)
        try run.finish(
            .init(
                steps: 1, secondsPerStep: (.now - start) / .seconds(1),
                tokensPerStep: windows.count * config.data.sequenceLength, bytesSentPerStep: 0, flopsPerStep: 5 * forward),
            results)
        if let search = made.search { context.reporter.note("\n" + search.text) }
        context.reporter.note("\n" + table.text)
        context.reporter.note("\nresults in \(context.folder.path)")
    }

    /// The network with linears as integers, this rank's stage of it, and what it is.
    private struct Made<World: Communicator> {
        let packed: Parameters<CompressedValue>
        let execution: Execution
        let names: QuantizeRecipe.Names
        /// Where the recipe was searched for.
        let search: RecipeSearch<World>.Result?
    }

    /// Rounds this rank's stage as the settings say, or as does best. Collective.
    private func make<World: Communicator>(
        _ recipe: QuantizeRecipe, _ run: LanguageModelRun<World>, _ original: Parameters<StoredTensor>
    ) throws -> Made<World> {
        let config = run.context.config
        if config.quantize.recipe == .auto {
            let found = try RecipeSearch(run, recipe, original).best()
            let names = recipe.names(found.winner.transform.name, label: found.winner.label, found.winner.method)
            return Made(packed: found.packed, execution: found.execution, names: names, search: found)
        }
        let base = recipe.base(original, run.model.architecture)
        let packed =
            config.quantization.weights.method == .gptq
            ? try base.calibrated(
                Calibration(run.model, run.context.groups, mode: config.calibration.mode),
                windows: try run.calibrationWindows(drawingFrom: original),
                hooks: recipe.execution.hooks(run.model.architecture), recipe.plan)
            : base.packed(recipe.plan)
        return Made(packed: packed, execution: recipe.execution, names: recipe.names, search: nil)
    }
}

extension Parameters<StoredTensor> {
    /// The parameters with linears as the integers that GPTQ chooses, where the plan rounds them. Collective.
    func calibrated<World>(
        _ calibration: Calibration<World>, windows: [[Int32]], hooks: QuantizedHooks, _ plan: WeightPlan
    ) throws -> Parameters<CompressedValue> {
        let stage = try calibration.quantize(self, windows: windows, hooks: hooks, by: GPTQ()) { plan[$0] }
        return map { name, value in
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
    /// How rotations would be learned, and where they would start.
    let rotation: RotationRecipe
    /// Of a rotated network.
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
        rotation = try RotationRecipe(config, architecture, planTokens: inputs.evaluationTokens(config))
        isGiven = config.rotation.path != nil
        rotations = isGiven || config.quantize.rotation == .hadamard ? rotation.start : nil
        let isRotated = rotations != nil || config.quantize.recipe == .auto
        online = isRotated && config.quantize.online ? rotation.online : OnlineRotations()
        var execution = Execution(config: config, online: online)
        // Other programs have one range for a token, wherever it is read.
        if execution.activationBits < 16 { execution.activationPerHead = false }
        self.execution = execution
    }

    /// What is rounded: the stage as stored, or rotated with norms folded.
    func base(_ parameters: Parameters<StoredTensor>, _ architecture: Architecture) -> Parameters<StoredTensor> {
        rotations.map { base(parameters, architecture, $0) } ?? parameters
    }

    func base(
        _ parameters: Parameters<StoredTensor>, _ architecture: Architecture, _ rotations: Rotations
    ) -> Parameters<StoredTensor> {
        var base = parameters.fusingNorms(architecture)
        if let r4 = online.r4 { base = base.rotatedDown(by: r4) }
        return base.map { _, value in value.deferred }.rotated(by: rotations, architecture)
    }

    /// Whether activations are rounded where R1 or R2 turns them.
    var roundsActivations: Bool { execution.activationBits < 16 || execution.valueBits < 16 }

    /// What the network is called: in the table, in `summary.json`, and where its folder is announced.
    struct Names {
        let label: String
        let method: String
        let description: String
    }

    var names: Names {
        let transform = rotations == nil ? nil : isGiven ? "learned rotations" : "fixed rotations"
        let label = (rotations == nil ? "" : isGiven ? "rotated, " : "Hadamard, ") + (isCalibrated ? "GPTQ" : "")
        return names(transform, label: label, isCalibrated ? .gptq : .rtn)
    }

    /// - Parameter transform: what was done before rounding; nil for nothing.
    func names(_ transform: String?, label: String, _ method: WeightMethod) -> Names {
        let parts = [label.hasSuffix(", ") ? String(label.dropLast(2)) : label, "as written"].filter { !$0.isEmpty }
        return Names(
            label: parts.joined(separator: ", "),
            method: [transform, method.rawValue].compactMap(\.self).joined(separator: ", "),
            description: (transform.map { $0.hasSuffix("rotations") ? "rotated, " : "\($0), " } ?? "")
                + "linears as packed integers of \(bits) bits\(plan.hasOverrides ? " and overrides" : "")")
    }
}
