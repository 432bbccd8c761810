internal import Autograd
package import Collectives
internal import Evaluation
internal import LinearAlgebra
package import Models
package import Quantization
package import Rotation
package import TensorCore

/// What the learner minimises.
package enum RotationObjective: String, Sendable, CaseIterable {
    /// Cross entropy of the next token (SpinQuant).
    case crossEntropy = "ce"
    /// Divergence from the full-precision network's predictions.
    case divergence = "kl"
}

/// Learns R1 and R2 by Cayley SGD on the loss of the quantised network (SpinQuant, arXiv 2405.16406, section 3.2).
///
/// Every rank processes its share of a step's sequences and gathers the skew gradients of all rotations; one packed all-reduce
/// sums them with the loss; then every rank takes the same step, so the rotations stay equal without being sent.
package final class RotationLearner {
    package struct Settings: Sendable {
        package var objective: RotationObjective
        package var quantization: ActivationQuantization
        /// Quantiser of the weights during training; nil leaves them in float32.
        package var weightQuantizer: WeightQuantizer?
        package var learnsR1: Bool
        package var learnsR2: Bool
        package var momentum: Float
        package var retraction: CayleySGD.Retraction
        package var seed: UInt64
        /// Sequences that run forward and backward together.
        package var microBatch: Int
        package var recompute: Bool
        package var plan: RotationPlan

        package init(
            objective: RotationObjective, quantization: ActivationQuantization, weightQuantizer: WeightQuantizer?,
            learnsR1: Bool, learnsR2: Bool, momentum: Float, retraction: CayleySGD.Retraction, seed: UInt64,
            microBatch: Int, recompute: Bool, plan: RotationPlan
        ) {
            self.objective = objective
            self.quantization = quantization
            self.weightQuantizer = weightQuantizer
            self.learnsR1 = learnsR1
            self.learnsR2 = learnsR2
            self.momentum = momentum
            self.retraction = retraction
            self.seed = seed
            self.microBatch = microBatch
            self.recompute = recompute
            self.plan = plan
        }
    }

    package private(set) var rotations: Rotations
    private let settings: Settings
    private let model: Llama
    /// The full-precision network: norms fused, R4 folded into down and undone at its input.
    private let teacher: Network<QuantizedSites>
    /// The teacher's parameters: what is rotated each step.
    private let base: LlamaParameters<Tensor>
    private let online: OnlineRotations
    let r1Gradient: RotationGradient?
    let r2Gradients: [RotationGradient]?
    private var optimizers: [CayleySGD]
    /// Skew gradients of all rotations, R1's first, and the loss: what one reduction sums.
    private var packed: Tensor

    /// The skew gradients of the last step, summed over ranks.
    var reducedGradients: Tensor { packed.slice(0..<packed.count - 1) }

    /// - Parameters:
    ///   - base: the model with fused norms and, where `online` has R4, with R4 folded into down.
    ///   - rotations: where to start.
    package init(
        _ settings: Settings, _ model: Llama, base: LlamaParameters<Tensor>, online: OnlineRotations, from rotations: Rotations
    ) {
        self.settings = settings
        self.model = model
        self.base = base
        self.online = online
        self.rotations = rotations
        teacher = Network(
            model: model, parameters: base.map { _, tensor in Variable(constant: tensor) },
            sites: QuantizedSites(quantization: .none, r4: online.r4))
        let r1 = settings.learnsR1 ? rotations.r1 : nil
        let r2 = settings.learnsR2 ? rotations.r2 : nil
        r1Gradient = r1.map { RotationGradient(n: $0.rows) }
        r2Gradients = r2.map { $0.map { RotationGradient(n: $0.rows) } }
        let learned = [r1].compactMap(\.self) + (r2 ?? [])
        optimizers = learned.map { _ in
            CayleySGD(
                retraction: settings.retraction, momentum: settings.momentum, orthonormalization: .scheduled(seed: settings.seed))
        }
        packed = Tensor(zeros: [learned.reduce(1) { $0 + SkewMatrix.packedCount(order: $1.rows) }])
    }

    /// Bytes a rank hands to the reduction of a step.
    package var bytesPerStep: Int { packed.count * MemoryLayout<Float>.stride }

    /// max|RᵀR − I| over the rotations.
    package var orthogonalityError: Double { rotations.named.map { Double(Rotation.orthogonalityError($0.tensor)) }.max() ?? 0 }

    private var gradients: [RotationGradient] { [r1Gradient].compactMap(\.self) + (r2Gradients ?? []) }

    /// One step on this rank's `sequences` (of equal lengths) of a global batch of `globalSequences`.
    ///
    /// - Throws: ``MPIError`` from the reduction; ``RotationError`` from the update; ``TrainingError/diverged(step:)`` when the loss is not finite.
    package func step(
        _ index: Int, _ sequences: [[Int32]], globalSequences: Int, learningRate: Float, _ communicator: some Communicator
    ) throws -> StepResult {
        for gradient in gradients { gradient.reset() }
        pack(loss: accumulate(sequences, globalSequences: globalSequences))
        let clock = ContinuousClock()
        let start = clock.now
        try communicator.allReduceSum(&packed)
        let communication = (clock.now - start) / .seconds(1)
        let loss = Double(packed[flat: packed.count - 1])
        guard loss.isFinite else { throw TrainingError.diverged(step: index) }
        let gradientNorm = try update(learningRate: learningRate)
        return StepResult(loss: loss, gradientNorm: gradientNorm, communicationSeconds: communication)
    }

    private func pack(loss: Double) {
        let target = packed.mutablePointer
        var offset = 0
        for gradient in gradients {
            let skew = SkewMatrix.pack(gradient.sum)
            (target + offset).update(from: skew.pointer, count: skew.count)
            offset += skew.count
        }
        target[offset] = Float(loss)
    }

    /// Takes the Cayley step of every rotation. Returns √(Σ ‖S‖²).
    private func update(learningRate: Float) throws(RotationError) -> Double {
        var offset = 0
        var squared = 0.0
        func step(_ optimizer: inout CayleySGD, _ rotation: inout Tensor) throws(RotationError) {
            let count = SkewMatrix.packedCount(order: rotation.rows)
            let skew = packed.slice(offset..<offset + count)
            offset += count
            squared += 2 * skew.squaredNorm
            try optimizer.step(&rotation, skew: skew, learningRate: learningRate)
        }
        var next = 0
        if settings.learnsR1, var r1 = rotations.r1 {
            try step(&optimizers[next], &r1)
            rotations.r1 = r1
            next += 1
        }
        if settings.learnsR2, var r2 = rotations.r2 {
            for layer in r2.indices { try step(&optimizers[next + layer], &r2[layer]) }
            rotations.r2 = r2
        }
        return squared.squareRoot()
    }

    /// Runs this rank's sequences and gathers the rotations' gradients. Returns this rank's part of the mean loss.
    func accumulate(_ sequences: [[Int32]], globalSequences: Int) -> Double {
        guard let length = sequences.first?.count else { return 0 }
        let rotated = base.rotated(by: rotations, sides: settings.plan.sides, model.configuration)
        let weights = quantizedWeights(of: rotated)
        let student = Network(
            model: model, parameters: weights ?? rotated.map { _, tensor in Variable(constant: tensor) },
            sites: QuantizedSites(
                quantization: settings.quantization, r1: rotations.r1, sides: settings.plan.sides, r3: online.r3, r4: online.r4,
                r1Gradient: r1Gradient, r2Gradients: r2Gradients))
        var sum = 0.0
        let counted = globalSequences * (settings.objective == .crossEntropy ? length - 1 : length)
        for first in stride(from: 0, to: sequences.count, by: settings.microBatch) {
            let batch = Array(sequences[first..<min(first + settings.microBatch, sequences.count)])
            let tape = Tape()
            let x = student.hiddenStates(batch, recompute: settings.recompute, on: tape)
            let (loss, value) = tape.languageModelLoss(
                x, head: student.parameters.logitWeight, target(batch), scale: 1 / Float(counted))
            sum += value
            tape.backward(from: loss, gradient: Tensor([1], []))
        }
        if let weights { addWeightTerms(unquantized: rotated, quantized: weights) }
        return sum / Double(counted)
    }

    private func target(_ batch: [[Int32]]) -> LogitTarget {
        switch settings.objective {
        case .crossEntropy: .tokens(batch.flatMap { $0.dropFirst() + [-1] })
        case .divergence:
            .teacher(
                hidden: teacher.hiddenStates(batch, on: Tape(recording: false)).value,
                head: teacher.parameters.logitWeight.value)
        }
    }

    /// The linear layers' weights quantised, as parameters whose gradients are wanted; nil where weights stay in float32.
    private func quantizedWeights(of rotated: LlamaParameters<Tensor>) -> LlamaParameters<Variable>? {
        guard let quantizer = settings.weightQuantizer else { return nil }
        return rotated.mapLinears(
            weight: { Variable(parameter: quantizer.fakeQuantized($0)) }, other: { Variable(constant: $0) })
    }

    /// What the quantised weights contribute to the gradients of the rotations merged into them.
    private func addWeightTerms(unquantized: LlamaParameters<Tensor>, quantized: LlamaParameters<Variable>) {
        for (index, (full, layer)) in zip(unquantized.layers, quantized.layers).enumerated() {
            func add(
                _ full: LinearLayer<Tensor>, _ layer: LinearLayer<Variable>, _ gradient: RotationGradient?,
                _ side: RotationGradient.Side
            ) {
                guard let gradient, let slope = layer.weight.gradient else { return }
                gradient.add(weightError: full.weight - layer.weight.value, gradient: slope, side: side)
            }
            for (full, layer) in [
                (full.query, layer.query), (full.key, layer.key), (full.value, layer.value), (full.gate, layer.gate),
                (full.up, layer.up),
            ] { add(full, layer, r1Gradient, .input) }
            add(full.output, layer.output, r1Gradient, .output)
            add(full.down, layer.down, r1Gradient, .output)
            add(full.value, layer.value, r2Gradients?[index], .output)
            add(full.output, layer.output, r2Gradients?[index], .input)
        }
    }
}
