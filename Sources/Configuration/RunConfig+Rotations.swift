internal import Calibration
internal import Quantization
internal import Rotation
internal import TensorCore

extension RunConfig {
    /// Whether activations are rounded where R1 or R2 turns them.
    package var roundsTurnedActivations: Bool { quantization.activations.bits < 16 || quantization.kv.values < 16 }

    /// What the settings of rotations cannot tell alone.
    func checkRotation() throws(ConfigurationError) {
        if rotation.starts > 1, rotation.path != nil {
            throw ConfigurationError(
                "rotation.starts", "is \(rotation.starts), but rotation.path gives the start; leave one out")
        }
        if rotation.starts > 1, rotation.objective == .weights {
            throw ConfigurationError(
                "rotation.starts", "compares activations, but rotation.objective=weights uses none; leave it out")
        }
        if rotation.trainWeightBits < 16, !rotation.objective.runsNetwork {
            throw ConfigurationError(
                "rotation.train_weight_bits",
                "is for the objectives kl and ce; \(rotation.objective.rawValue) rounds no weights")
        }
        if training.precision != .float32, !rotation.objective.runsNetwork {
            throw ConfigurationError(
                "training.precision",
                "is for passes through the network (rotation.objective=kl or ce), but \(rotation.objective.rawValue) makes "
                    + "none")
        }
        if rotation.pretrainSteps > 0, !rotation.objective.runsNetwork {
            throw ConfigurationError(
                "rotation.pretrain_steps",
                "is for the objectives kl and ce; \(rotation.objective.rawValue) runs no backward pass")
        }
    }

    /// What a search for the best recipe, or a file of rotations, decides is not given as well.
    func checkRecipe() throws(ConfigurationError) {
        if rotation.path != nil, ![.none, .learned].contains(quantize.transform) {
            throw ConfigurationError(
                "quantize.transform", "is \(quantize.transform.rawValue), but rotation.path gives rotations; leave one out")
        }
        if !leadingTransforms.isEmpty, quantize.transform == .balance {
            let key = quantize.balance ? "quantize.balance" : "rotation.balance"
            throw ConfigurationError(key, "is true, but quantize.transform=balance does the same; leave one out")
        }
        if quantize.online, quantize.recipe == .given, rotation.path == nil,
            ![.hadamard, .learned].contains(quantize.transform)
        {
            throw ConfigurationError(
                "quantize.online",
                "is true, but quantize rotates nothing here; R3 and R4 need quantize.transform=hadamard or learned, or "
                    + "rotation.path")
        }
        let weights = quantization.weights
        if let quantizer = weights.quantizer(bits: weights.bits),
            let needed = weightQuantization?.conflict(with: quantizer)
        {
            throw ConfigurationError("quantization.weights.method", "\(weights.method.name) needs \(needed)")
        }
        if let part = weights.gptq.compensation, part > 0, calibration.mode == .fullPrecision,
            weightQuantization is GPTQ || quantize.recipe == .auto
        {
            throw ConfigurationError(
                "quantization.weights.gptq.compensation",
                "is \(part), but with calibration.mode=full-precision there is nothing to compensate; leave one out")
        }
        guard quantize.recipe == .auto else { return }
        if weights.method != .nearest {
            throw ConfigurationError(
                "quantization.weights.method",
                "is \(weights.method.name), but quantize.recipe=auto chooses it; leave one out")
        }
        if quantize.transform != .none {
            throw ConfigurationError(
                "quantize.transform", "is \(quantize.transform.rawValue), but quantize.recipe=auto chooses it; leave one out")
        }
    }
}
