internal import Compression
internal import Configuration
internal import HuggingFace
internal import Models
internal import Quantization
internal import Rotation
internal import TensorCore
internal import Trainer

/// What `quantize` does to a model, from its settings.
struct QuantizeRecipe {
    /// Rounding the network as stored, for comparison.
    let plain: QuantizationRecipe
    let plan: WeightPlan
    /// How integers are chosen.
    let method: any WeightQuantization
    /// What is done before rounding.
    let transform: any ModelTransform
    /// Of `rotation.path`.
    let givenRotations: Rotations?
    /// How rotations would be learned, and where they would start.
    let rotation: RotationRecipe
    /// Of a rotated network.
    let online: OnlineRotations
    private let config: RunConfig

    /// - Throws: ``ConfigurationError`` for what cannot be quantized so; ``FileError`` for the rotations.
    init(_ config: RunConfig, _ inputs: LanguageModelInputs) throws {
        let architecture = inputs.folder.architecture
        guard config.quantization.weights.bits < 16 else {
            throw ConfigurationError("quantization.weights.bits", "is 16: there is nothing to round; give 2 to 8")
        }
        guard let method = config.quantization.weights.method.quantization else {
            throw ConfigurationError("quantization.weights.method", "stored is for eval; quantize rounds weights itself")
        }
        plain = QuantizationRecipe(config, architecture)
        plan = try WeightPlan(config, architecture)
        rotation = try RotationRecipe(config, architecture, planTokens: inputs.evaluationTokens(config))
        givenRotations = config.rotation.path == nil ? nil : rotation.start
        transform = config.quantizeTransform
        online = config.quantize.online ? rotation.online : OnlineRotations()
        (self.method, self.config) = (method, config)
    }

    /// What is done to activations at run time, after a transform.
    func execution(of transform: any ModelTransform) -> Execution {
        var execution = Execution(config: config, online: transform.rotates ? online : OnlineRotations())
        // Other programs have one range for a token, wherever it is read.
        if execution.activationBits < 16 { execution.activationPerHead = false }
        return execution
    }

    /// What the network is called: in the table, in `summary.json`, and where its folder is announced.
    struct Names {
        let label: String
        let method: String
        let description: String
    }

    var names: Names {
        let isNearest = method.name == RoundToNearest.name
        let parts = [transform.method == nil ? nil : transform.label, isNearest ? nil : method.label]
        return names(transform, label: parts.compactMap(\.self).joined(separator: ", "), method)
    }

    /// - Parameter label: of the transform and the method; empty for rounding the network as stored.
    func names(_ transform: any ModelTransform, label: String, _ method: any WeightQuantization) -> Names {
        let balanced = config.quantize.balance ? "balanced, " : ""
        let change = balanced + (transform.rotates ? "rotated, " : transform.method == nil ? "" : "\(transform.label), ")
        return Names(
            label: [config.quantize.balance ? "balanced" : "", label, "as written"].filter { !$0.isEmpty }.joined(
                separator: ", "),
            method: [config.quantize.balance ? "channel balance" : nil, transform.method, method.name].compactMap(\.self)
                .joined(separator: ", "),
            description: change
                + "linears as packed integers of \(config.quantization.weights.bits) "
                + "bits\(plan.hasOverrides ? " and overrides" : "")"
        )
    }
}

extension RunConfig {
    /// What `quantize` does before rounding, where the recipe is given.
    var quantizeTransform: any ModelTransform { ModelTransforms.named(rotation.path == nil ? quantize.transform : .learned) }

    /// Whether `quantize` looks at a text.
    var quantizeReadsText: Bool {
        quantization.weights.method.quantization?.inputs != nil || quantize.recipe == .auto || quantize.balance
            || quantizeTransform.readsText(self)
    }
}
