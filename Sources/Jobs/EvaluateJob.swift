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
internal import TernarySVD
internal import Trainer

/// Perplexity of a model on windows of text: as it is, rounded to nearest as `quantization` says, and with rotations, with
/// ternary factors, or as trained.
package struct EvaluateJob: Job {
    package static let name = ModelJob.eval.rawValue
    /// The row of `rotation.path`.
    static let rotated = "rotated"

    package init() {}

    /// Checks that such a model can be rotated, rounded, and multiplied as the settings ask.
    package static func check(_ config: RunConfig, _ shape: Architecture, _ path: String) throws {
        guard config.eval.product == .float else {
            let made = config.eval.trained.map { "; to multiply \($0) in integers, score it alone: eval \($0)" } ?? ""
            throw ConfigurationError("eval.product", "integer is for a compressed model; \(path) holds floats\(made)")
        }
        if config.rotation.path != nil || config.eval.hadamard { try shape.checkRotatable(path) }
        try QuantizationRecipe(config, shape).checkGroups(learningWith: config.rotation, shape)
        if !config.quantization.isUniform { _ = try WeightPlan(config, shape) }
    }

    /// What is to be scored besides the model itself.
    struct Compressed {
        let recipe: RotationRecipe
        /// How the weights as stored are rounded.
        let plan: WeightPlan
        let factors: [String: TernaryFactors]?
        /// This rank's stage of the changed model: trained, or with ternary factors in place of their layers.
        let changed: CompressedModel?
        /// Of the folder of the changed model, else of the model's own, with the given factors counted as in their file.
        let size: ModelSize
        /// Linears of the model's own folder, with the given factors, that are ternary, and that are integers.
        let ternary, integers: Set<String>
        /// Type of the weights that are not ternary, there or in the model's folder. The integers that factors are compared
        /// with count these weights in the same type.
        let type: ElementType
        /// Whether the linears there are packed.
        let isPacked: Bool
        let tasks: TaskWork?
        /// The network with integer products of a compressed folder, with factors if given, where `eval.product` asks for
        /// these; nil elsewhere.
        let inIntegers: CompressedModel?

        /// The label of `changed`.
        var label: String {
            factors != nil ? "ternary" : isPacked ? "as written" : "trained, weights as stored"
        }

        /// What the linears of a compressed folder are.
        func form(_ inputs: LanguageModelInputs) -> String {
            guard factors != nil else { return inputs.folder.packed?.form ?? "floats" }
            let tables = inputs.folder.packed?.tables ?? []
            return PackedForm.text(ternary: ternary.count, integers: integers.count, tables: tables)
                + ", with the factors given"
        }
    }

    /// Scores the model in the forms that `eval.*` asks for, then its tasks. Collective.
    package func run(_ context: JobContext<some Communicator>) throws {
        let (config, groups) = (context.config, context.groups)
        let (run, (original, compressed)) = try LanguageModelRun.open(
            context, job: Self.name, needsTraining: config.readsText(.eval), from: .compressed
        ) { try read($0, context) }
        try run.noteOrigin(ofRotations: config.rotation.path)
        try run.noteOrigin(ofFactors: config.ternary.path)
        // Where only tasks are asked for, the model need not sample a text.
        let isScored = compressed.tasks == nil || run.inputs.evaluation != nil
        let windows = isScored ? try run.evaluationWindows(drawingFrom: original) : []
        let start = ContinuousClock.now
        let sent = groups.bytesSent
        var results = JSONObject()
        if let tasks = compressed.tasks {
            let network = try taskNetwork(original, compressed, run)
            results["tasks"] = try run.score(tasks, network)
            results["tasks_network"] = .string(network.text)
        }
        let table = isScored ? try score(consume original, compressed, run, windows) : nil
        let seconds = (.now - start) / .seconds(1)
        if let table { context.reporter.note("\n" + table.text) }
        if table?.rows.last?.key == Self.rotated, let line = table?.rotationWarning(steps: nil) {
            context.reporter.note("\n" + line)
        }

        // Forward passes per window: the network alone, and each quantized one beside it.
        // Integer products have a pass in floats beside them.
        let passes = Double(1 + 2 * max(0, (table?.rows.count ?? 1) - 1) + (config.eval.product == .integer ? 1 : 0))
        let operations = ModelCost(run.model.architecture).forward(sequences: windows.count, length: config.data.sequenceLength)
        table?.add(to: &results)
        if run.inputs.folder.packed != nil {
            results["product"] = .string(config.eval.product.rawValue)
            results["products"] = run.model.architecture.products(
                ternary: compressed.ternary.count, integer: compressed.integers.count)
        }
        results["bits"] = config.quantization.bitsJSON(ofWeights: !run.inputs.isCompressed)
        results["method"] = .string(method(config, run.inputs.isCompressed))
        results["bits_per_weight"] = table?.result?.size.map { .double($0.bitsPerWeight) }
        results["model_bytes"] = .integer(table?.result?.size?.bytes ?? compressed.size.bytes)
        try run.finish(
            MeasuredSteps(
                count: 1, seconds: seconds,
                tokens: windows.count * config.data.sequenceLength + (compressed.tasks?.tokens ?? 0),
                bytesSent: groups.bytesSent - sent,
                flops: passes * operations + (compressed.tasks?.operations(run.model.architecture) ?? 0)), results)
    }

    private func method(_ config: RunConfig, _ isCompressed: Bool) -> String {
        if config.ternary.path != nil { return "ternary" }
        if config.eval.trained != nil { return "trained" }
        if isCompressed { return "as stored" }
        return config.rotation.path != nil ? "learned rotations" : config.eval.hadamard ? "fixed rotations" : "rtn"
    }

    private func read(
        _ inputs: LanguageModelInputs, _ context: JobContext<some Communicator>
    ) throws -> (original: Parameters<StoredTensor>, compressed: Compressed) {
        let (config, stage) = (context.config, inputs.stages[context.groups.stage])
        try inputs.checkIsAlone(config)
        try inputs.checkOrigin(ofRotations: config.rotation.path, context)
        let parameters = try inputs.folder.parameters(stage, storage: config.model.storage)
        if config.rotation.path != nil || config.eval.hadamard { try inputs.folder.checkRotatable(parameters) }
        let factors = try config.ternary.path.map { path in
            let factors = try TernaryFile.read(path)
            try factors.check(against: inputs.folder.architecture.linears, file: path)
            return factors
        }
        let trained = try config.eval.trained.map { try inputs.trained($0) }
        try inputs.checkOrigin(ofFactors: config.ternary.path, trained?.folder ?? inputs.folder, context)
        var changed = try trained.map { try CompressedModel(reading: $0, stage: stage) }
        if let factors {
            changed = CompressedModel((changed?.parameters ?? parameters).packed(factors), changed?.execution ?? .plain)
        }
        // As in a run of `rotate` on up to four replicas, which then gives the same numbers.
        let step = RotationPlan.tokens(perStep: config.training.batchSize * config.data.sequenceLength, replicas: 1)
        let recipe = try RotationRecipe(config, inputs.folder.architecture, planTokens: step)
        let plan = try WeightPlan(config, inputs.folder.architecture)
        let own = CompressedModel(changed?.parameters ?? parameters, inputs.execution)
        let (origin, given) = (trained?.folder ?? inputs.folder, Set((factors ?? [:]).keys))
        let sizes = try ModelSizes(origin)
        return (
            parameters,
            Compressed(
                recipe: recipe, plan: plan, factors: factors, changed: changed,
                size: try config.ternary.path.map(sizes.ternary(file:)) ?? sizes.stored,
                ternary: given.union(inputs.folder.packed?.ternary ?? []),
                integers: (inputs.folder.packed?.integers ?? []).subtracting(given),
                type: try origin.elementType, isPacked: trained?.folder.packed != nil,
                tasks: try TaskWork(config, inputs.folder),
                inIntegers: config.eval.product == .integer ? try own.inIntegers(inputs.folder.architecture) : nil)
        )
    }

    /// Collective.
    ///
    /// - Parameter original: this rank's stage, as stored in the model's folder.
    private func score(
        _ original: consuming Parameters<StoredTensor>, _ compressed: Compressed, _ run: LanguageModelRun<some Communicator>,
        _ windows: [[Int32]]
    ) throws -> ScoreTable {
        let (config, recipe) = (run.context.config, compressed.recipe)
        var bits = NetworkBits(config.quantization)
        if run.inputs.isCompressed { bits.weights = nil }
        var table = ScoreTable(bits, windows: windows.count, length: config.data.sequenceLength)
        if run.inputs.isCompressed {
            // Given factors replace the folder's own.
            let parameters: Parameters<StoredTensor>
            if let changed = compressed.changed { parameters = changed.parameters } else { parameters = original }
            let own = CompressedModel(parameters, run.inputs.execution)
            return try scoreCompressed(own, compressed, table, run, windows)
        }
        if config.scoresAsStored {
            let score = try evaluate(
                run.model.constantNetwork(original), against: Network<IdentityHooks>?.none, windows: windows,
                run.context.groups)
            try run.context.communicator.agree { try score.checkAlive(vocabulary: run.model.architecture.vocabularySize) }
            table.add(
                ScoreTable.fullPrecision, "full precision", .full, .reference(perplexity: score.perplexity),
                try ModelSizes(run.inputs.folder).stored)
            return table
        }
        let changed = try scoreChanged(original, compressed, table, run, windows)
        let base = try RotationBase.of(original, run)
        let network = try table.addPlain(run, consume original, base, compressed.plan, recipe.quantization, windows)
        try addRotated(&table, network, recipe, run, windows)
        for row in changed { table.add(row) }
        // Without a changed model, the result is the stored weights rounded, not the weights from which rotations would start.
        if table.rows.last?.key == ScoreTable.folded { table.choose(RoundToNearest.name) }
        return table
    }

    /// The rows of a network with other weights, and of those that it is compared with.
    private func scoreChanged(
        _ original: Parameters<StoredTensor>, _ compressed: Compressed, _ empty: ScoreTable,
        _ run: LanguageModelRun<some Communicator>,
        _ windows: [[Int32]]
    ) throws -> [ScoreTable.Row] {
        guard let changed = compressed.changed else { return [] }
        let (config, groups, model) = (run.context.config, run.context.groups, run.model)
        let activations = compressed.recipe.quantization.activations
        var table = empty
        let (network, bits) = changedNetwork(changed, compressed, table.bits, model)
        let score = try evaluate(network, against: model.constantNetwork(original), windows: windows, groups)
        if let factors = compressed.factors {
            if config.eval.compare {
                let names = Set(factors.keys)
                let written = try ModelSizes(run.inputs.folder, as: compressed.type)
                try table.addIntegers(names, of: original, all: names, activations, model, written, windows, groups)
            }
            table.addTernary("ternary", compressed.label, score, compressed.size)
        } else {
            let other = changed.execution.otherRanges(than: Execution(config: config))
            if compressed.isPacked, !other.isEmpty {
                run.context.reporter.note(
                    "note: the row '\(compressed.label)' is rounded as its folder says, and differs from the other rows in "
                        + other.joined(separator: ", "))
            }
            table.add("trained", compressed.label, bits, score, compressed.size)
        }
        return table.rows
    }

    /// The row of a compressed folder. There is nothing to compare it with, except with integer products, whose divergence is
    /// from the same rounded values in floats. Collective.
    private func scoreCompressed(
        _ own: CompressedModel, _ compressed: Compressed, _ empty: ScoreTable,
        _ run: LanguageModelRun<some Communicator>, _ windows: [[Int32]]
    ) throws -> ScoreTable {
        var table = empty
        let inIntegers = compressed.inIntegers
        let network = (inIntegers ?? own).network(run.model)
        // Beyond its rounding, an integer product changes only the order of sums.
        let reference = inIntegers == nil ? nil : own.inRoundedFloats().network(run.model)
        if inIntegers != nil {
            run.context.reporter.note("KL and top-1: of products in integers, from the same roundings multiplied in float32")
        }
        let score = try evaluate(network, against: reference, windows: windows, run.context.groups)
        try run.context.communicator.agree { try score.checkAlive(vocabulary: run.model.architecture.vocabularySize) }
        table.add("compressed", compressed.form(run.inputs), packedBits(run, compressed), score, compressed.size)
        return table
    }

    /// Rows with the rotations that were asked for.
    ///
    /// - Parameter base: the network that they start from.
    private func addRotated(
        _ table: inout ScoreTable, _ base: consuming Parameters<StoredTensor>, _ recipe: RotationRecipe,
        _ run: LanguageModelRun<some Communicator>, _ windows: [[Int32]]
    ) throws {
        let (config, groups) = (run.context.config, run.context.groups)
        guard config.rotation.path != nil || config.eval.hadamard else { return }
        let scorer = RotatedScorer(model: run.model, base: base.folding(recipe.online), recipe: recipe, windows: windows)
        let size = try table.rotatedSize(run, recipe.quantization)
        if config.eval.hadamard, let row = recipe.hadamardRow {
            table.add(row.key, row.label, table.bits, try scorer.score(recipe.hadamard, groups), size)
        }
        if config.rotation.path != nil {
            table.add(Self.rotated, "rotated", table.bits, try scorer.score(recipe.start, groups), size)
        }
    }
}

extension LanguageModelInputs {
    /// The folder of the trained model.
    ///
    /// - Throws: ``OriginError`` where it has another shape; ``FileError``.
    fileprivate func trained(_ path: String) throws -> CompressedFolder {
        let trained = try CompressedFolder(GivenPath.model(path))
        var shape = trained.folder.architecture
        // Merging rotations unties the head.
        shape.tiesHead = folder.architecture.tiesHead
        guard shape == folder.architecture else {
            throw ConfigurationError(
                "eval.trained", "\(path) has another shape than \(folder.path), which it should have been made of")
        }
        return trained
    }

    /// Checks that nothing else is to be done to a model that is already compressed.
    ///
    /// - Throws: ``ConfigurationError``; as ``EvaluateJob/check(_:_:_:)``.
    fileprivate func checkIsAlone(_ config: RunConfig) throws {
        guard isCompressed else { return try EvaluateJob.check(config, folder.architecture, folder.path) }
        let others = [
            ("rotation.path", config.rotation.path != nil), ("eval.trained", config.eval.trained != nil),
            ("eval.hadamard", config.eval.hadamard),
        ]
        guard let other = others.first(where: \.1)?.0 else { return }
        throw ConfigurationError(other, "\(folder.path) is compressed already and is scored as it is; leave \(other) out")
    }
}
