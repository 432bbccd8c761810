package import Autograd
package import Collectives
package import Configuration
package import Evaluation
package import Models
package import Parallelism
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

extension OnlineRotations {
    /// The online rotations that settings ask for, for the widths of a model.
    package init(_ config: RunConfig, _ architecture: Architecture) {
        let rotation = config.rotation
        // If keys are not quantized, R3 changes nothing, since queries and keys are rotated alike.
        let quantizesKeys = config.quantization.kv.keys < 16
        let down = architecture.downWidth
        self.init(
            r3: architecture.headDimension.flatMap {
                rotation.r3 == .hadamard && quantizesKeys ? HadamardTransform(columns: $0) : nil
            },
            r4: rotation.r4 == .hadamard && down > 0 ? HadamardTransform(columns: down) : nil)
    }
}

/// The rotations of a model that a configuration describes: where they start and how they are learned.
package struct RotationRecipe {
    package let quantization: QuantizationRecipe
    package let learner: RotationLearner.Settings
    package let online: OnlineRotations
    package let start: Rotations
    /// Where they would start without a file.
    package let hadamard: Rotations
    /// Random rotations of which the best becomes the start; the first is `hadamard`.
    package let candidates: RandomStarts
    /// Whether `start` is from a file.
    private let isGiven: Bool

    /// - Parameters:
    ///   - planTokens: see `RotationPlan`.
    ///   - dims: replicas and stages on which steps run the network; nil where no step does, whatever `parallel.*` says.
    /// - Throws: ``ConfigurationError`` for groups or micro-batches that do not fit; ``FileError`` where `rotation.path`
    ///   names a file that does not hold this model's rotations.
    package init(_ config: RunConfig, _ architecture: Architecture, planTokens: Int, dims: ParallelDims? = nil) throws {
        let rotation = config.rotation
        quantization = QuantizationRecipe(config, architecture)
        try quantization.checkGroups(learningWith: rotation, architecture)
        let trainingQuantizer = quantization.weights(bits: rotation.trainWeightBits)
        let (head, layers) = (architecture.headDimension, architecture.layerCount)
        online = OnlineRotations(config, architecture)
        candidates = RandomStarts(
            endIndex: rotation.starts, hidden: rotation.r1 == .none ? nil : architecture.hiddenSize,
            head: rotation.r2 == .none ? nil : head, layers: layers, seed: UInt64(config.training.seed),
            keepsMean: architecture.takesMeans)
        let random = candidates[0]
        hadamard = random
        start =
            try rotation.path.map {
                let given = try Rotations(contentsOf: $0, hidden: architecture.hiddenSize, head: head ?? 0, layers: layers)
                try RotationMetadata(of: $0).check(given, path: $0)
                try given.check(keepMeansOf: architecture, path: $0)
                return given
            } ?? random
        isGiven = rotation.path != nil
        learner = RotationLearner.Settings(
            objective: rotation.objective, quantization: quantization.activations,
            weightQuantizer: trainingQuantizer, learnsR1: rotation.r1 == .learned, learnsR2: rotation.r2 == .learned,
            momentum: Float(rotation.momentum), retraction: rotation.retraction,
            seed: UInt64(config.training.seed), microBatches: try dims.map(config.microBatches) ?? .count(1),
            schedule: config.parallel.schedule, recompute: config.training.recompute,
            precision: config.training.precision,
            plan: RotationPlan(
                architecture, tokens: planTokens, weightsQuantized: trainingQuantizer != nil, storage: config.model.storage))
    }
}

extension RotationRecipe {
    /// A description of `model/` for the user.
    package var merged: String { start.r1 == nil && start.r2 == nil ? "norms folded" : "rotated" }

    /// Whether steps change a rotation.
    package var learns: Bool { learner.learnsR1 && start.r1 != nil || learner.learnsR2 && start.r2 != nil }

    /// Key and label, in `summary.json` and in the table, of the network with the initial rotations; nil where nothing is
    /// rotated.
    package var startRow: (key: String, label: String)? { isGiven ? ("given", "rotations given") : hadamardRow }

    /// The same for random rotations.
    package var hadamardRow: (key: String, label: String)? {
        let merged = [hadamard.r1.map { _ in "R1" }, hadamard.r2.map { _ in "R2" }].compactMap(\.self)
        let all = merged + [online.r3.map { _ in "R3" }, online.r4.map { _ in "R4" }].compactMap(\.self)
        guard !all.isEmpty else { return nil }
        return ("hadamard", "Hadamard" + (merged.count == 2 ? "" : ", \(all.joined(separator: " ")) only"))
    }
}

/// Scores rotations in the quantized network. R1 is merged into the weights where these are quantized, and otherwise where the
/// plan says so.
package struct RotatedScorer {
    package let model: Model
    /// This rank's stage, with norms fused and R4 folded into the down projections.
    package let base: Parameters<StoredTensor>
    package let recipe: RotationRecipe
    package let windows: [[Int32]]

    package init(model: Model, base: Parameters<some TensorValue>, recipe: RotationRecipe, windows: [[Int32]]) {
        self.model = model
        self.base = base.map { _, value in value.stored }
        self.recipe = recipe
        self.windows = windows
    }

    /// Perplexity and divergence from full precision of the network with these rotations. Collective.
    package func score(_ rotations: Rotations, _ groups: ParallelGroups<some Communicator>) throws -> LanguageModelScore {
        let reference = Network(
            model: model, parameters: base.map { _, value in Variable(constant: value) },
            hooks: QuantizedHooks(quantization: .none, r4: recipe.online.r4))
        return try evaluate(network(rotations), against: reference, windows: windows, groups)
    }

    /// The network with these rotations, rounded as the recipe says.
    package func network(_ rotations: Rotations) -> Network<QuantizedHooks> {
        let sides = recipe.quantization.weights == nil ? recipe.learner.plan.sides : .all
        return Network(
            model: model,
            parameters: recipe.quantization.quantized(base.rotated(by: rotations, sides: sides, model.architecture)),
            hooks: QuantizedHooks(
                quantization: recipe.learner.quantization, r1: rotations.r1, sides: sides, r3: recipe.online.r3,
                r4: recipe.online.r4))
    }
}
