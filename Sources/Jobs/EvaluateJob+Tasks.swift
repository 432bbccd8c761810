internal import Autograd
internal import Collectives
internal import Compression
internal import Configuration
internal import Models
internal import Quantization
internal import Rotation
internal import Runs
internal import TensorCore
internal import Trainer

/// The network that tasks are scored on, and its label.
struct TaskNetwork {
    let label: String
    let bits: NetworkBits
    let network: Network<QuantizedHooks>

    /// Such as `round to nearest, W4 A16 KV16`.
    var text: String { bits == .full ? label : "\(label), \(bits.text)" }
}

extension EvaluateJob {
    /// The network that the job was asked to score: packed, with given factors, trained, rotated or rounded, or otherwise as
    /// stored. Collective.
    ///
    /// - Parameter original: this rank's stage, as stored in the model's folder.
    func taskNetwork(
        _ original: Parameters<StoredTensor>, _ compressed: Compressed, _ run: LanguageModelRun<some Communicator>
    ) throws -> TaskNetwork {
        let (config, recipe, model) = (run.context.config, compressed.recipe, run.model)
        let bits = NetworkBits(config.quantization)
        if run.inputs.isCompressed { return packedTaskNetwork(original, compressed, run) }
        if let changed = compressed.changed {
            let (network, bits) = changedNetwork(changed, compressed, bits, model)
            return TaskNetwork(label: compressed.label, bits: bits, network: network)
        }
        if config.scoresAsStored {
            return TaskNetwork(
                label: "as stored", bits: .full, network: CompressedModel(original).network(model))
        }
        guard config.rotation.path != nil || config.eval.hadamard else {
            let label = ([RoundToNearest.label] + config.quantization.exceptions.map { "\($0)=\($1)" }).joined(separator: ", ")
            return TaskNetwork(label: label, bits: bits, network: recipe.quantization.network(model, original, compressed.plan))
        }
        let base = try RotationBase.of(original, run).applied(to: original)
        let scorer = RotatedScorer(model: model, base: base.folding(recipe.online), recipe: recipe, windows: [])
        let isGiven = config.rotation.path != nil
        return TaskNetwork(
            label: isGiven ? Self.rotated : recipe.hadamardRow?.label ?? recipe.merged, bits: bits,
            network: scorer.network(isGiven ? recipe.start : recipe.hadamard))
    }

    /// The folder's own network, or with given factors instead of its own.
    private func packedTaskNetwork(
        _ original: Parameters<StoredTensor>, _ compressed: Compressed, _ run: LanguageModelRun<some Communicator>
    ) -> TaskNetwork {
        let own = CompressedModel(compressed.changed?.parameters ?? original, run.inputs.execution)
        let model = compressed.inIntegers ?? own
        return TaskNetwork(
            label: compressed.form(run.inputs)
                + (compressed.inIntegers == nil ? "" : ", multiplied in integers"),
            bits: packedBits(run, compressed), network: model.network(run.model))
    }

    /// The bits of a network whose folder describes how it runs.
    func packedBits(_ run: LanguageModelRun<some Communicator>, _ compressed: Compressed) -> NetworkBits {
        var bits = NetworkBits(run.inputs.execution)
        // Ternary layers round their inputs to 8 bits to multiply in integers.
        let multipliesIntegers = run.context.config.eval.product == .integer
        if multipliesIntegers, !compressed.ternary.isEmpty { bits.activations = min(bits.activations, 8) }
        return bits
    }

    /// The network with other weights than the model's folder, and its bits.
    func changedNetwork(
        _ changed: CompressedModel, _ compressed: Compressed, _ bits: NetworkBits, _ model: Model
    ) -> (network: Network<QuantizedHooks>, bits: NetworkBits) {
        var network = changed.network(model)
        // A folder of packed integers says what is done to activations; for floats and factors the settings do. Weights are not
        // rounded.
        if compressed.isPacked && compressed.factors == nil || changed.execution != .plain {
            return (network, NetworkBits(changed.execution))
        }
        var bits = bits
        bits.weights = compressed.factors == nil ? NetworkBits.full.weights : nil
        network.hooks = QuantizedHooks(quantization: compressed.recipe.quantization.activations)
        return (network, bits)
    }
}

extension NetworkBits {
    /// The bits of a compressed folder's network.
    init(_ execution: Execution) {
        self.init(
            weights: nil, activations: execution.activationBits, keys: execution.keyBits, values: execution.valueBits)
    }
}
