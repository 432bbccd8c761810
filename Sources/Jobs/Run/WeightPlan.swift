internal import Configuration
internal import Models
internal import Quantization
internal import Trainer

/// How each linear's weight is rounded: as `quantization.weights` says, but with the bits of the last pattern of
/// `quantization.overrides` that names it.
struct WeightPlan {
    private let quantizers: [String: WeightQuantizer]
    let hasOverrides: Bool

    /// - Throws: ``ConfigurationError`` where groups do not divide a linear's inputs, or a pattern names no linear.
    init(_ config: RunConfig, _ architecture: Architecture) throws(ConfigurationError) {
        let recipe = QuantizationRecipe(config, architecture)
        let overrides = config.quantization.overrides.entries
        hasOverrides = !overrides.isEmpty
        var quantizers: [String: WeightQuantizer] = [:]
        var used = Set<Int>()
        for linear in architecture.linears {
            let named = overrides.indices.filter { overrides[$0].pattern.matches(linear.name) }
            used.formUnion(named)
            let bits = named.last.map { overrides[$0].bits } ?? config.quantization.weights.bits
            guard let quantizer = recipe.weights(bits: bits) else { continue }
            if case .group(let size) = quantizer.spec.granularity, linear.shape[1] % size != 0 {
                throw ConfigurationError(
                    "quantization.weights.group_size", "\(size) does not divide the \(linear.shape[1]) inputs of \(linear.name)"
                )
            }
            quantizers[linear.name] = quantizer
        }
        if let unused = overrides.indices.first(where: { !used.contains($0) }) {
            throw ConfigurationError(
                "quantization.overrides", "'\(overrides[unused].pattern.settingText)' names none of the model's linears")
        }
        self.quantizers = quantizers
    }

    /// One quantizer for all linears.
    init(_ quantizer: WeightQuantizer, _ architecture: Architecture) {
        quantizers = Dictionary(uniqueKeysWithValues: architecture.linears.map { ($0.name, quantizer) })
        hasOverrides = false
    }

    /// nil where the linear stays as it is.
    subscript(linear: String) -> WeightQuantizer? { quantizers[linear] }

    /// Of the linears that are rounded.
    var specs: [String: QuantizerSpec] { quantizers.mapValues(\.spec) }
}
