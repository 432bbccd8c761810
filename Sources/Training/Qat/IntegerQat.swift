internal import Autograd
internal import Collectives
internal import Evaluation
internal import HuggingFace
internal import Models
internal import Quantization
internal import Rotation
internal import TensorCore

/// Trains a network as its quantised self: weights and activations rounded to integers of a few bits in the forward pass, the
/// gradient passing straight through to float32 masters (LLM-QAT, arXiv 2305.17888, without its data generation).
struct IntegerQat<World: Communicator> {
    let context: JobContext<World>

    func run() throws {
        let config = context.config
        var rotations = Rotations.none
        let run = try FullTrainingRun(context, job: QatJob.name) { inputs, _ in
            let c = inputs.folder.architecture
            try QuantizationRecipe(config, c).checkGroups(c, bits: config.quantization.weights.bits)
            guard config.ternary.path == nil else { throw ConfigurationError("ternary.path", "is for qat.method=ternary") }
            if let path = config.qat.rotations {
                rotations = try Rotations(contentsOf: path, hidden: c.hiddenSize, head: c.headDimension ?? 0, layers: c.blocks.count)
            }
        }
        let c = run.inputs.folder.architecture
        let base = run.parameters.fusingNorms(c).rotated(by: rotations, c)
        let recipe = QuantizationRecipe(config, c)
        let fullPrecision = try run.perplexity(run.fullPrecision)
        let quantizer = recipe.weights
        let trainer = try run.trainer(
            base, hooks: QuantizedHooks(quantization: recipe.activations), view: quantizer.map { quantizer in quantizer.fakeQuantized },
            teacher: config.distills ? run.fullPrecision : nil)
        let rounded = try run.perplexity(trainer.network)
        context.reporter.note(
            "full precision: perplexity \(fullPrecision.formatted(decimals: 2)); rounded to nearest: \(rounded.formatted(decimals: 2))")

        if let state = try run.restoredState() { try trainer.restore(state) }
        let record = try run.train(trainer)
        let network = trainer.network
        let trained = try run.perplexity(network)
        try run.write(network.parameters.map { _, variable in variable.value })
        var results = JSONObject()
        results["perplexity"] = [
            "full_precision": .double(fullPrecision), "rtn": .double(rounded), "integer_qat": .double(trained),
        ]
        results["loss"] = record.loss
        let bits = (config.quantization.weights.bits, config.quantization.activations.bits, config.quantization.kv.bits)
        results["bits"] = ["weights": .integer(bits.0), "activations": .integer(bits.1), "kv": .integer(bits.2)]
        var table = Table(columns: ["\(bits.0)-bit weights, \(bits.1)-bit activations, \(bits.2)-bit KV", "perplexity"])
        table.add(["full precision", fullPrecision.formatted(decimals: 2)])
        table.add(["round to nearest", rounded.formatted(decimals: 2)])
        table.add(["trained", trained.formatted(decimals: 2)])
        try run.summarise(
            record, results, Improvement(before: rounded, after: trained), table,
            timing: trainer.timing, hasTeacher: config.distills)
    }
}
