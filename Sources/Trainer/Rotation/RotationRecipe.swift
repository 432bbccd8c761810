package import Configuration
package import Models
package import Parallelism
package import Rotation

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
