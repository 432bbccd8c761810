package import Autograd
package import Configuration
package import Models
package import Quantization
package import Rotation
package import TensorCore

/// The quantization of a network that a configuration describes.
package struct QuantizationRecipe {
    package let activations: ActivationQuantization
    /// Quantizer of the linear layers' weights; nil leaves them in float32.
    package let weights: WeightQuantizer?
    private let settings: QuantizationSettings

    package init(_ config: RunConfig, _ architecture: Architecture) {
        settings = config.quantization
        activations = ActivationQuantization(
            activationBits: settings.activations.bits, activationSymmetric: settings.activations.symmetric,
            activationRange: settings.activations.symmetricRange, outputPerHead: settings.activations.headRanges ?? true,
            keyBits: settings.kv.keys, valueBits: settings.kv.values, cacheSymmetric: settings.kv.symmetric,
            clipRatios: settings.clipRatios, headDimension: architecture.headDimension ?? 1,
            gradient: config.rotation.gradient)
        weights = settings.weights.quantizer(bits: settings.weights.bits)
    }

    /// - Throws: ``ConfigurationError`` where weights are quantized in groups that do not divide the inputs of every linear
    ///   layer.
    package func checkGroups(_ architecture: Architecture, bits: Int) throws(ConfigurationError) {
        guard bits < 16 else { return }
        try checkGroups(architecture.linears)
    }

    /// The same, where weights may also be quantized while rotations are learned.
    package func checkGroups(
        learningWith rotation: RotationSettings, _ architecture: Architecture
    ) throws(ConfigurationError) {
        try checkGroups(architecture, bits: min(settings.weights.bits, rotation.trainWeightBits))
    }

    /// The same for the linear layers that are quantized.
    package func checkGroups(_ linears: [LinearShape]) throws(ConfigurationError) {
        guard case .group(let size) = settings.weights.granularity,
            let linear = linears.first(where: { $0.shape[1] % size != 0 })
        else { return }
        throw ConfigurationError(
            "quantization.weights.group_size",
            "\(size) does not divide the \(linear.shape[1]) inputs of \(linear.name); "
                + "\(GroupSizes.advice(for: size, dividing: linears.map { $0.shape[1] }))")
    }

    /// Checks that activations are rounded where rotations are learned from rounded activations.
    ///
    /// - Throws: ``ConfigurationError``.
    package func checkRows(_ rotation: RotationSettings) throws(ConfigurationError) {
        let turned: [HookPoint] = [.attentionInput, .mlpInput, .outputInput, .value]
        guard turned.allSatisfy({ activations[$0] == nil }) else { return }
        let setting: (key: String, text: String)? =
            rotation.objective.readsStoredRows
            ? ("objective", rotation.objective.rawValue)
            : rotation.starts > 1
                ? ("starts", "\(rotation.starts)")
                : rotation.pretrainSteps > 0 ? ("pretrain_steps", "\(rotation.pretrainSteps)") : nil
        guard let setting else { return }
        throw ConfigurationError(
            "rotation.\(setting.key)",
            "\(setting.text) learns from rounded activations, but none are rounded; set quantization.activations.bits or "
                + "quantization.kv.bits below 16, or the objective weights")
    }

    /// The configured quantizer of weights, at other bits than configured.
    package func weights(bits: Int) -> WeightQuantizer? { settings.weights.quantizer(bits: bits) }

    /// The parameters with the linear layers' weights quantized, as constants.
    package func quantized(_ parameters: Parameters<some TensorValue>) -> Parameters<Variable> {
        guard let weights, settings.weights.method != .stored else {
            return parameters.map { _, value in Variable(constant: value) }
        }
        return parameters.rounded(by: weights)
    }
}

extension Parameters where Value: TensorValue {
    /// The parameters with linear layers' weights rounded, as constants. They are floats or, for weights that are not in
    /// memory, integers that stand for the same floats.
    ///
    /// - Parameter names: the layers to round; nil for all.
    package func rounded(by quantizer: WeightQuantizer, only names: Set<String>? = nil) -> Parameters<Variable> {
        rounded(by: { names?.contains($0) ?? true ? quantizer : nil }, table: { _ in nil })
    }

    /// The same, with a quantizer for each weight.
    ///
    /// - Parameters:
    ///   - linear: the quantizer by the layer's name; nil where the weight is not rounded.
    ///   - table: the quantizer of the embedding or the head.
    package func rounded(
        by linear: (_ layer: String) -> WeightQuantizer?, table: (ParameterSpec.Role) -> WeightQuantizer?
    ) -> Parameters<Variable> {
        mapSpecs { name, spec, value in
            guard let quantizer = spec.ports == nil ? table(spec.role) : linear(String(name.dropLast(".weight".count))) else {
                return Variable(constant: value.stored.held)
            }
            guard value.stored.isResident else { return Variable(constant: StoredTensor(quantizer.quantized(value.tensor))) }
            return Variable(constant: quantizer.fakeQuantized(value.tensor))
        }
    }
}
