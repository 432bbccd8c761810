internal import Compression
internal import Configuration
internal import Exports
internal import HuggingFace
internal import Models
internal import Quantization
internal import Rotation
internal import TensorCore
internal import Trainer

/// What `quantize` does to a model according to its settings.
struct QuantizeRecipe {
    /// Rounding of the network as stored, for comparison, in the form in which it would be written.
    let plain: QuantizationRecipe
    let plan: WeightPlan
    /// How integers are chosen.
    let method: any WeightQuantization
    /// The transforms before rounding, in order, where no recipe is searched for.
    let transforms: [any ModelTransform]
    /// The transforms that every recipe of a search begins with.
    let leading: [any ModelTransform]
    /// Rotations of `rotation.path`.
    let givenRotations: Rotations?
    /// How rotations would be learned, and where they would start.
    let rotation: RotationRecipe
    /// Online rotations of a rotated network.
    let online: OnlineRotations
    private let config: RunConfig

    /// - Throws: ``ConfigurationError`` for a model that cannot be quantized in this way; ``FileError`` for the rotations.
    init(_ config: RunConfig, _ inputs: LanguageModelInputs) throws {
        let architecture = inputs.folder.architecture
        var plainly = config
        plainly.quantization.activations.headRanges = config.quantization.activations.headRanges ?? false
        plain = QuantizationRecipe(plainly, architecture)
        plan = try WeightPlan(config, architecture)
        rotation = try RotationRecipe(config, architecture, planTokens: inputs.evaluationTokens(config))
        givenRotations = config.rotation.path == nil ? nil : rotation.start
        transforms = config.quantizeTransforms.map(ModelTransforms.named)
        leading = config.leadingTransforms.map(ModelTransforms.named)
        online = config.quantize.online ? rotation.online : OnlineRotations()
        (method, self.config) = (try Self.method(config), config)
        try Self.checkRotations(config, rotation)
        // Folding norms gives the model a separate head.
        let unties = config.quantize.recipe != .auto && transforms.rotates && rotation.start.r1 != nil
        try plan.checkTables(tied: architecture.tiesHead && !unties)
    }

    /// - Throws: ``ConfigurationError`` where the settings leave nothing to round, or no way to.
    static func method(_ config: RunConfig) throws(ConfigurationError) -> any WeightQuantization {
        guard config.quantization.weights.bits < 16 else {
            throw ConfigurationError(
                "quantization.weights.bits",
                "is 16; give 2 to 8 (without it they are 4; quantization.overrides='*=16' leaves all linears as they are)")
        }
        guard let method = config.weightQuantization else {
            throw ConfigurationError("quantization.weights.method", "stored is for eval; quantize rounds weights itself")
        }
        return method
    }

    /// - Throws: ``ConfigurationError`` where a transform would rotate or learn nothing.
    private static func checkRotations(_ config: RunConfig, _ rotation: RotationRecipe) throws(ConfigurationError) {
        let transform = config.quantize.transform
        let online = config.quantize.online && (rotation.online.r3 != nil || rotation.online.r4 != nil)
        let rotatesNothing = rotation.hadamard.r1 == nil && rotation.hadamard.r2 == nil && !online
        guard config.quantize.recipe != .auto, config.rotation.path == nil, ModelTransforms.named(transform).rotates,
            transform == .learned ? !rotation.learns : rotatesNothing
        else { return }
        let problem =
            transform == .learned
            ? "learned has nothing to learn where rotation.r1 and rotation.r2 are fixed; make one of them learned, or take "
                + "quantize.transform=hadamard"
            : "hadamard has nothing to rotate by where rotation.r1 and rotation.r2 are none; make one of them hadamard, or "
                + "take quantize.transform=none"
        throw ConfigurationError("quantize.transform", problem)
    }

    /// What is done to activations at run time, after these transforms.
    func execution(of transforms: [any ModelTransform]) -> Execution {
        var execution = Execution(config: config, online: transforms.rotates ? online : OnlineRotations())
        // Other programs use one range per token everywhere. A folder with run-time rotations is run only by this program.
        let isShared = !(execution.r3 || execution.r4)
        let hasChoice = config.quantization.activations.headRanges != nil
        if execution.activationBits < 16, isShared, !hasChoice { execution.activationPerHead = false }
        return execution
    }

    /// The possible results of the job: a single one or, for a search, a network as stored and a rotated one.
    func expectedResults(_ architecture: Architecture) -> [ExpectedResult] {
        let ends = config.quantize.recipe == .auto ? [leading, leading + [LearnedRotations()]] : [transforms]
        return ends.map { transforms in
            // Where norms are folded, the embedding no longer serves as head.
            let isHead = architecture.tiesHead && !(transforms.rotates && rotation.start.r1 != nil)
            return ExpectedResult(
                linears: .integers,
                embedding: plan[.embedding].map { SharedForm.Embedding(bits: $0.spec.bits, isHead: isHead) },
                float: architecture.linears.first { plan[$0.name] == nil }?.name, execution: execution(of: transforms))
        }
    }

    /// Names of the network: in the table, in `summary.json`, and in the line about its folder.
    struct Names {
        let label: String
        let method: String
        let description: String
    }

    var names: Names {
        let isNearest = method.name == RoundToNearest.name
        return names(transforms, method, labels: changes(transforms).map(label) + (isNearest ? [] : [method.label]))
    }

    /// - Parameter labels: the labels of the transforms and the method that are shown.
    func names(_ transforms: [any ModelTransform], _ method: any WeightQuantization, labels: [String]) -> Names {
        let changes = changes(transforms)
        let tables = [("embedding", config.quantization.embeddingBits), ("head", config.quantization.headBits)]
            .filter { $0.1 < 16 }.map { ", \($0.0) of \($0.1) bits" }.joined()
        return Names(
            label: (labels + ["as written"]).joined(separator: ", "),
            method: (changes.compactMap(\.method) + [method.name]).joined(separator: ", "),
            description: changes.map { ($0.rotates ? "rotated" : $0.label) + ", " }.joined()
                + "linears as packed integers of \(config.quantization.weights.bits) "
                + "bits\(plan.hasOverrides ? " and overrides" : "")\(tables)"
        )
    }

    /// There may be only one of the two.
    private func label(_ transform: any ModelTransform) -> String {
        guard transform is LearnedRotations else { return transform.label }
        let rotations = givenRotations ?? rotation.hadamard
        return rotations.r1 == nil ? "R2" : rotations.r2 == nil ? "R1" : transform.label
    }

    /// The transforms that change something.
    private func changes(_ transforms: [any ModelTransform]) -> [any ModelTransform] { transforms.filter { $0.method != nil } }
}
