internal import Autograd
internal import Collectives
internal import Compression
internal import Configuration
internal import Evaluation
internal import Models
internal import Parallelism
internal import Quantization
internal import Rotation
internal import Runs
internal import Support
internal import TensorCore
internal import Trainer

/// Trains a quantized network: in the forward pass weights and activations are rounded to integers of a few bits, and the
/// gradient passes straight through to float32 master weights (LLM-QAT, arXiv 2305.17888, without its data generation).
struct IntegerQat<World: Communicator> {
    let context: JobContext<World>

    func run() throws {
        let config = context.config
        let (run, rotations) = try open()
        let c = run.inputs.folder.architecture
        let rotates = config.qat.rotations != nil
        // R1 commutes only with norms without gains.
        let base = try run.rotationBase().applied(to: run.parameters, foldsNorms: rotations.r1 != nil).rotated(by: rotations, c)
        let recipe = QuantizationRecipe(config, c)
        let stored = try ModelSizes(run.inputs.folder).stored
        let sizes = try ModelSizes(run.inputs.folder, as: run.inputs.writtenType(config))
        var table = ScoreTable(
            NetworkBits(config.quantization), windows: run.evaluation.count, length: config.data.sequenceLength)
        let plain = try run.plainScore(recipe)
        context.reporter.note(plain.line)
        table.add(ScoreTable.fullPrecision, "full precision", .full, plain.fullPrecision, stored)
        table.add(RoundToNearest.name, RoundToNearest.label, table.bits, plain.rounded, sizes.rounded(by: recipe.weights))
        let quantizer = recipe.weights
        let trainer = try run.trainer(
            base, hooks: QuantizedHooks(quantization: recipe.activations),
            weightTransform: quantizer.map { quantizer in quantizer.fakeQuantized },
            teacher: config.distills ? run.fullPrecision : nil)
        var before = plain.rounded
        if rotates {
            before = try run.score(trainer.network)
            let own = rotations.r1 == nil ? sizes : sizes.untied
            table.add("given", "rotations given", table.bits, before, own.rounded(by: recipe.weights))
        }

        if let state = run.restoredState() { try trainer.restore(state) }
        let record = try run.train(trainer)
        let (trained, bytes) = try write(trainer.weights.parameters, recipe, run, rotates ? "rotated, " : "")
        table.add("integer_qat", "trained", table.bits, trained, try context.writtenSize())
        var results = JSONObject()
        table.add(to: &results)
        results["loss"] = record.loss
        results["bits"] = config.quantization.bitsJSON()
        results["method"] = "integer"
        results["model_bytes"] = .integer(bytes)
        results["products"] = quantizer.map { c.products(integer: WeightPlan($0, c).specs.count) }
        results["compression_seconds"] = .double(record.secondsPerStep * Double(config.training.steps))
        results["bits_per_weight"] = table.rows.last?.size.map { .double($0.bitsPerWeight) }
        try run.summarize(
            record, results, config.improvement(before: before, after: trained), table.text,
            timing: trainer.timing, hasTeacher: config.distills)
        if let warning = table.distanceWarning(config, .qat) { context.reporter.note("\n" + warning) }
    }

    /// The run, and the rotations that it starts from, if any. Collective.
    private func open() throws -> (FullTrainingRun<World>, Rotations) {
        let config = context.config
        var rotations = Rotations.none
        let run = try FullTrainingRun(context, job: QatJob.name) { inputs, _ in
            let c = inputs.folder.architecture
            try QatJob.check(config, c, inputs.folder.path)
            try inputs.checkOrigin(ofRotations: config.qat.rotations, context)
            if let path = config.qat.rotations {
                rotations = try Rotations(
                    contentsOf: path, hidden: c.hiddenSize, head: c.headDimension ?? 0, layers: c.layerCount)
                try rotations.check(keepMeansOf: c, path: path)
                try inputs.folder.checkRotatable(try inputs.folder.parameters(inputs.stages[context.groups.stage]))
            }
        }
        return (run, rotations)
    }

    /// Writes the trained network, as integers where weights are quantized, and scores what was written. Collective.
    ///
    /// - Parameter masters: the master weights, before rounding.
    private func write(
        _ masters: Parameters<Tensor>, _ recipe: QuantizationRecipe, _ run: FullTrainingRun<World>, _ prefix: String
    ) throws -> (score: LanguageModelScore, bytes: Int) {
        guard let quantizer = recipe.weights else {
            let written = try run.asWritten(masters)
            let score = try run.trainedScore(run.network(written, hooks: QuantizedHooks(quantization: recipe.activations)))
            return (score, try run.write(written, prefix + "weights not quantized"))
        }
        let plan = WeightPlan(quantizer, run.inputs.folder.architecture)
        let packed = masters.packed(plan)
        let packing = try FolderPacking(
            plan, run.inputs, Execution(config: context.config), packed, context.groups)
        return try run.writeAndScore(packed, packing, prefix + "linears as packed \(quantizer.spec.bits)-bit integers")
    }
}
