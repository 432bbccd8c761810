internal import Autograd
internal import Calibration
package import Collectives
internal import Compression
package import Configuration
internal import Datasets
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

/// Rounds a model's linears to integers of a few bits, rotated or not, and writes them packed: one command from a folder to a
/// folder.
package struct QuantizeJob: Job {
    package static let name = ModelJob.quantize.rawValue

    package init() {}

    /// Checks that there is something to round, and a method to do it.
    package static func check(_ config: RunConfig) throws { _ = try QuantizeRecipe.method(config) }

    /// Checks that the model has the layers that the settings name, that groups divide its widths, and that it can be
    /// transformed as asked.
    package static func check(_ config: RunConfig, _ shape: Architecture, _ path: String) throws {
        _ = try WeightPlan(config, shape)
        if config.quantize.recipe == .given { try config.quantizeTransforms.map(ModelTransforms.named).check(shape, path) }
    }

    /// Rounds by the given recipe or the best one, writes `model/`, and scores what was written. Collective.
    package func run(_ context: JobContext<some Communicator>) throws {
        let (config, groups) = (context.config, context.groups)
        let (run, (recipe, original)) = try LanguageModelRun.open(
            context, job: Self.name, needsTraining: config.readsText(.quantize)
        ) { try read($0, context) }
        let model = run.model
        try run.noteOrigin(ofRotations: config.rotation.path)
        let windows = try run.evaluationWindows(drawingFrom: original)
        let (start, sent) = (ContinuousClock.now, groups.bytesSent)
        var table = try plainTable(run, recipe, original, windows)
        let began = ContinuousClock.now
        let made = try Trace.span(.quantizeWeights) { try make(recipe, run, original) }
        let seconds = (.now - began) / .seconds(1)
        // Returns the memory of the matrices rounded for comparison and for the file, since reading back uses other memory.
        StoragePool.shared.trim()
        let folder = try write(made, recipe, run)
        let score = try evaluate(
            try run.inputs.readBack(context).network(model), against: model.constantNetwork(original), windows: windows, groups)
        try run.checkAlive(trained: score)
        let size = try context.writtenSize()
        table.add("quantized", made.names.label, table.bits, score, size)

        var results = JSONObject()
        table.add(to: &results)
        results["bits"] = config.quantization.bitsJSON()
        results["method"] = .string(made.names.method)
        results["bits_per_weight"] = .double(size.bitsPerWeight)
        results["model_bytes"] = .integer(folder.bytes)
        results["compression_seconds"] = .double(seconds)
        results["recipes"] = made.search?.json
        results["products"] = model.architecture.products(integer: folder.integers)
        let forward = ModelCost(model.architecture).forward(sequences: windows.count, length: config.data.sequenceLength)
        try run.finish(
            MeasuredSteps(
                count: 1, seconds: (.now - start) / .seconds(1), tokens: windows.count * config.data.sequenceLength,
                bytesSent: groups.bytesSent - sent, flops: 5 * forward),
            results)
        report(table, made, recipe, context)
    }

    /// The table with the rows of the network in full precision and rounded to nearest, which are also reported. Collective.
    private func plainTable(
        _ run: LanguageModelRun<some Communicator>, _ recipe: QuantizeRecipe, _ original: Parameters<StoredTensor>,
        _ windows: [[Int32]]
    ) throws -> ScoreTable {
        let config = run.context.config
        var table = ScoreTable(NetworkBits(config.quantization), windows: windows.count, length: config.data.sequenceLength)
        // Rounded with the bits that each weight will have.
        let plain = try PlainScore(run.model, original, recipe.plan, recipe.plain, windows, run.context.groups)
        run.context.reporter.note(plain.line)
        // Returns the memory of the rounded copy, since the next matrices have other sizes.
        StoragePool.shared.trim()
        let (sizes, type) = (try ModelSizes(run.inputs.folder), try run.inputs.writtenType(config))
        table.add(ScoreTable.fullPrecision, "full precision", .full, plain.fullPrecision, sizes.stored)
        table.add(
            RoundToNearest.name, RoundToNearest.label, table.bits, plain.rounded,
            try ModelSizes(run.inputs.folder, as: type).rounded(by: recipe.plan))
        return table
    }

    /// Writes `model/`. Collective.
    ///
    /// - Returns: the size of the folder's weights in bytes, and how many of the model's linears are integers.
    private func write<World: Communicator>(
        _ made: Made<World>, _ recipe: QuantizeRecipe, _ run: LanguageModelRun<World>
    ) throws -> (bytes: Int, integers: Int) {
        let context = run.context
        let packing = try FolderPacking(recipe.plan, run.inputs, made.execution, made.packed, context.groups)
        let bytes = try run.inputs.write(
            made.packed, packing, as: run.inputs.writtenType(context.config), made.names.description, context)
        return (bytes, packing.integers.count)
    }

    /// Tells the user the results, and what to think of them.
    private func report<World: Communicator>(
        _ table: ScoreTable, _ made: Made<World>, _ recipe: QuantizeRecipe, _ context: JobContext<World>
    ) {
        let (config, reporter) = (context.config, context.reporter)
        if let search = made.search { reporter.note("\n" + search.text) }
        reporter.note("\n" + table.text)
        let other = made.execution.otherRanges(than: recipe.execution(of: []))
        if !other.isEmpty {
            reporter.note(
                "\nnote: the rows '\(RoundToNearest.label)', which is what quantize would write without rotations, and "
                    + "'\(made.names.label)' also differ in \(other.joined(separator: ", "))")
        }
        let isLearned = made.transforms.contains { $0 is LearnedRotations } && config.rotation.path == nil
        let rotationWarning =
            made.transforms.rotates ? table.rotationWarning(steps: isLearned ? "quantize.learning_steps" : nil) : nil
        for line in [table.distanceWarning(config, .quantize), rotationWarning].compactMap(\.self) {
            reporter.note("\n" + line)
        }
        reporter.note("\nresults in \(context.folder.path)")
    }

    /// This rank's stage as stored, and the recipe for it.
    private func read(
        _ inputs: LanguageModelInputs, _ context: JobContext<some Communicator>
    ) throws -> (QuantizeRecipe, Parameters<StoredTensor>) {
        let config = context.config
        if config.quantize.recipe == .auto, inputs.training?.count ?? config.data.sampledSequences < 2 {
            let key = inputs.training == nil ? "data.sampled_sequences" : "data.train.path"
            throw ConfigurationError(
                "quantize.recipe",
                "auto needs at least two sequences (\(key)), one to calibrate on and one to compare recipes on")
        }
        try inputs.checkOrigin(ofRotations: config.rotation.path, context)
        try Self.check(config, inputs.folder.architecture, inputs.folder.path)
        let weights = try inputs.folder.parameters(inputs.stages[context.groups.stage], storage: config.model.storage)
        let recipe = try QuantizeRecipe(config, inputs)
        if recipe.transforms.rotates { try inputs.folder.checkRotatable(weights) }
        try config.checkExports(recipe.expectedResults(inputs.folder.architecture), inputs.folder.architecture)
        return (recipe, weights)
    }

    /// The network with linears as integers: this rank's stage of it, and its description.
    private struct Made<World: Communicator> {
        let packed: Parameters<CompressedValue>
        let execution: Execution
        let names: QuantizeRecipe.Names
        let transforms: [any ModelTransform]
        /// The result of the search for a recipe, if there was one.
        let search: RecipeSearch<World>.Result?
    }

    /// Rounds this rank's stage as the settings say, or by the best recipe. Collective.
    private func make<World: Communicator>(
        _ recipe: QuantizeRecipe, _ run: LanguageModelRun<World>, _ original: Parameters<StoredTensor>
    ) throws -> Made<World> {
        let config = run.context.config
        if config.quantize.recipe == .auto {
            let found = try RecipeSearch(run, recipe, original).best()
            let (transforms, winner) = (recipe.leading + [found.winner.transform], found.winner)
            let names = recipe.names(transforms, winner.method, labels: recipe.leading.map(\.label) + [winner.label])
            return Made(packed: found.packed, execution: found.execution, names: names, transforms: transforms, search: found)
        }
        let (method, transforms) = (recipe.method, recipe.transforms)
        let text = config.calibrates(.quantize) ? try run.calibrationWindows(drawingFrom: original) : []
        let base = try transforms.apply(TransformInput(run: run, recipe: recipe, network: original, calibration: text))
        let execution = recipe.execution(of: transforms)
        let packed = try base.packed(run, windows: text, execution, by: method, keepingAs: transforms.key, recipe.plan)
        return Made(packed: packed, execution: execution, names: recipe.names, transforms: transforms, search: nil)
    }
}

extension Parameters<StoredTensor> {
    /// The parameters with linears as integers chosen by a method, where the plan rounds them. Collective.
    ///
    /// - Parameter network: a name for these parameters, by which finished layers are found again.
    func packed<World>(
        _ run: LanguageModelRun<World>, windows: [[Int32]], _ execution: Execution, by method: any WeightQuantization,
        keepingAs network: String, _ plan: WeightPlan
    ) throws -> Parameters<CompressedValue> {
        let calibration = Calibration(
            run.model, run.context.groups, mode: run.context.config.calibration.mode, depth: method.inputs ?? .secondMoment,
            storage: run.context.activationStorage)
        let finished = FinishedIntegers(
            folder: run.context.folder.file(RunFiles.finishedLayers), network: "\(network)_\(method.name)",
            hooks: "\(execution)")
        let integers = try calibration.quantize(
            self, windows: windows, hooks: execution.hooks(run.model.architecture),
            exact: execution.exact.hooks(run.model.architecture), by: method, keeping: finished
        ) { plan[$0] }
        let packed = map { name, value in
            integers[String(name.dropLast(".weight".count))].map(CompressedValue.integer) ?? .dense(value)
        }
        return try packed.roundingTables(plan)
    }
}
