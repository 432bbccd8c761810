internal import Autograd
internal import CKernels
package import Collectives
internal import Configuration
package import Models
package import Parallelism
package import Quantization
package import Rotation
internal import Support
package import TensorCore

/// Learns R1 and R2 by Cayley SGD on the loss of the quantized network (SpinQuant, arXiv 2405.16406, section 3.2).
///
/// A rank runs its stage on its replica's share of a step's sequences and gathers the skew gradients of its blocks. Those of R1
/// are added up from stage to stage, and one packed all-reduce sums a stage's gradients over the replicas. The stages exchange
/// the results and the loss, and every rank takes the same step of all rotations, which therefore stay equal everywhere without
/// being sent.
///
/// **The number of stages does not change a bit.** A block's gradient is summed over micro-batches in their order, and blocks
/// are added to R1's gradient from the last to the first, as on one rank: see `gatherGradients(loss:_:)`. With several replicas
/// the order differs, but sums are in double precision: if `RotationPlan` is the same, bits hardly ever change either.
package final class RotationLearner {
    /// How rotations are learned, the same on all ranks.
    package struct Settings: Sendable {
        package var objective: RotationObjective
        package var quantization: ActivationQuantization
        /// Quantizer of the weights during training; nil leaves them in float32.
        package var weightQuantizer: WeightQuantizer?
        package var learnsR1: Bool
        package var learnsR2: Bool
        package var momentum: Float
        package var retraction: CayleySGD.Retraction
        package var seed: UInt64
        package var microBatches: MicroBatches
        package var schedule: PipelineSchedule
        package var recompute: Bool
        /// Precision of the products in the network's passes and of the rotations' gradients; weights are rotated in float32.
        package var precision: ProductPrecision
        package var plan: RotationPlan
        /// Whether ranks divide the rows of the Cayley steps, and whether replicas divide the rotating and rounding of weights;
        /// otherwise all do the same work. No bit depends on this.
        package var dividesUpdate = false
        package var dividesWeights = false

        package init(
            objective: RotationObjective, quantization: ActivationQuantization, weightQuantizer: WeightQuantizer?,
            learnsR1: Bool, learnsR2: Bool, momentum: Float, retraction: CayleySGD.Retraction, seed: UInt64,
            microBatches: MicroBatches, schedule: PipelineSchedule = .oneForwardOneBackward, recompute: Bool,
            precision: ProductPrecision = .float32, plan: RotationPlan
        ) {
            self.objective = objective
            self.quantization = quantization
            self.weightQuantizer = weightQuantizer
            self.learnsR1 = learnsR1
            self.learnsR2 = learnsR2
            self.momentum = momentum
            self.retraction = retraction
            self.seed = seed
            self.microBatches = microBatches
            self.schedule = schedule
            self.recompute = recompute
            self.precision = precision
            self.plan = plan
        }
    }

    /// The rotations of the whole model.
    package internal(set) var rotations: Rotations
    package let settings: Settings
    package let model: Model
    /// This stage of the full-precision network: norms fused, R4 folded into the down projections and applied to their inputs.
    package let teacher: Network<QuantizedHooks>
    private let passes: StagePasses<QuantizedHooks>
    /// The teacher's parameters, which are rotated in each step.
    package let base: Parameters<StoredTensor>
    package let online: OnlineRotations
    /// The gradients of R1 at each of this stage's blocks, and of a layer's R2 at its block with attention; empty where these
    /// are not learned.
    let r1Gradients: [Int: RotationGradient]
    let r2Gradients: [Int: RotationGradient]
    /// Optimizers of the rotations that are learned: R1's, then those of the layers' R2.
    var optimizers: [CayleySGD]
    /// Skew gradients of all rotations, R1's first, then the layers' R2, and the loss.
    private(set) var packed: Tensor
    /// The stored rows for objectives without a backward pass; see ``store(_:tokens:in:_:)``.
    var stored: StoredRows?
    /// Time of the pipeline's passes, and of waiting during them.
    package internal(set) var timing = PipelineTiming()

    /// The skew gradients of the last step, summed over ranks.
    var reducedGradients: Tensor { packed.slice(0..<packed.count - 1) }

    /// - Parameters:
    ///   - base: this rank's stage of the model with fused norms and, where `online` has R4, with R4 folded into down.
    ///   - rotations: initial rotations of the whole model.
    package init(
        _ settings: Settings, _ model: Model, base: Parameters<some TensorValue>, online: OnlineRotations,
        from rotations: Rotations
    ) {
        self.settings = settings
        self.model = model
        self.base = base.map { _, value in value.stored }
        self.online = online
        self.rotations = rotations
        teacher = Network(
            model: model, parameters: base.map { _, value in Variable(constant: value) },
            hooks: QuantizedHooks(quantization: .none, r4: online.r4))
        passes = StagePasses(
            hidden: model.architecture.hiddenSize, microBatches: settings.microBatches, schedule: settings.schedule,
            recompute: settings.recompute, precision: settings.precision,
            teacher: settings.objective == .divergence ? teacher : nil)
        let r1 = settings.learnsR1 ? rotations.r1 : nil
        let r2 = settings.learnsR2 ? rotations.r2 : nil
        func gradients(_ rotation: (_ block: Int) -> Tensor?) -> [Int: RotationGradient] {
            let learned = base.blockRange.compactMap { block in rotation(block).map { (block, $0.rows) } }
            return Dictionary(
                uniqueKeysWithValues: learned.map { ($0, RotationGradient(n: $1, precision: settings.precision)) })
        }
        let shapes = model.architecture.blocks
        r1Gradients = gradients { _ in r1 }
        r2Gradients = gradients { shapes[$0].heads == nil ? nil : r2?[shapes[$0].layer] }
        precondition(r2.map { $0.count == shapes.count { $0.heads != nil } } ?? true, "a layer has one block with attention")
        let learned = [r1].compactMap(\.self) + (r2 ?? [])
        optimizers = learned.map { _ in
            CayleySGD(
                retraction: settings.retraction, momentum: settings.momentum,
                stepSize: settings.objective.runsNetwork ? .absolute : .relative,
                orthonormalization: .scheduled(seed: settings.seed))
        }
        packed = Tensor(zeros: [learned.reduce(1) { $0 + SkewMatrix.packedCount(order: $1.rows) }])
    }

    /// max|RᵀR − I| over the rotations.
    package var orthogonalityError: Double { rotations.named.map { Double(Rotation.orthogonalityError($0.tensor)) }.max() ?? 0 }

    /// One step on `batch` (sequences of equal lengths), the share of this rank's replica of `globalSequences`; an
    /// objective that does not run the network uses none. Collective.
    ///
    /// - Throws: ``MPIError``; ``RotationError`` from the update; ``TrainingError/diverged(step:)`` when the loss is not
    ///   finite, on all ranks alike.
    package func step(
        _ index: Int, _ batch: ReplicaBatch, globalSequences: Int, learningRate: Float,
        _ groups: ParallelGroups<some Communicator>
    ) throws -> StepResult {
        let loss =
            try settings.objective.runsNetwork
            ? accumulate(batch, globalSequences: globalSequences, groups) : accumulateStored(step: index, groups)
        let start = ContinuousClock.now
        packed = try Trace.span(.gradients) { try gatherGradients(loss: loss, groups) }
        let communication = (ContinuousClock.now - start) / .seconds(1)
        let mean = Double(packed[flat: packed.count - 1])
        guard mean.isFinite else { throw TrainingError.diverged(step: index) }
        let gradientNorm = try Trace.span(.cayley) { try update(learningRate: learningRate, groups.world) }
        return StepResult(loss: mean, gradientNorm: gradientNorm, communicationSeconds: communication)
    }

    /// Removes the drift that the iterative retraction leaves (the exact one leaves none), before the rotations are scored and
    /// written. The same bits on every rank.
    package func finish() throws(RotationError) {
        defer { if model.architecture.takesMeans { rotations = rotations.keepingMean() } }
        guard settings.retraction == .iterative else { return }
        if settings.learnsR1, let r1 = rotations.r1 { rotations.r1 = try CayleySGD.orthonormalized(r1) }
        if settings.learnsR2, let r2 = rotations.r2 {
            var orthonormal: [Tensor] = []
            for rotation in r2 { orthonormal.append(try CayleySGD.orthonormalized(rotation)) }
            rotations.r2 = orthonormal
        }
    }
}

/// A rank's part of a step: its stage's passes, and the sum of the blocks' gradients.
extension RotationLearner {
    /// Runs this stage on the replica's sequences and gathers the gradients of its blocks. Returns the replica's part of the
    /// mean loss on the last stage; 0 on others.
    func accumulate(
        _ batch: ReplicaBatch, globalSequences: Int, _ groups: ParallelGroups<some Communicator>
    ) throws -> Double {
        resetGradients()
        guard let length = batch.sequences.first?.count else {
            // The other replicas need this one's share.
            if settings.dividesWeights { _ = try studentWeights(groups.replicas) }
            return 0
        }
        let (rotated, weights) = try studentWeights(groups.replicas)
        let student = Network(
            model: model, parameters: weights ?? rotated.map { _, value in Variable(constant: value) },
            hooks: QuantizedHooks(
                quantization: settings.quantization, r1: rotations.r1, sides: settings.plan.sides, r3: online.r3, r4: online.r4,
                r1Gradients: r1Gradients, r2Gradients: r2Gradients))
        let counted = globalSequences * (settings.objective == .crossEntropy ? length - 1 : length)
        let result = try passes.run(batch, counted: counted, groups) { student }
        timing += result.timing
        if let weights { Trace.span(.weightTerms) { addWeightTerms(unquantized: rotated, quantized: weights) } }
        return result.sum / Double(counted)
    }

    /// The contributions of the quantized weights to the gradients of the rotations merged into them.
    private func addWeightTerms(unquantized: Parameters<StoredTensor>, quantized: Parameters<Variable>) {
        for (index, (full, block)) in zip(base.blockRange, zip(unquantized.blocks, quantized.blocks)) {
            for (place, spec) in block.specs.enumerated() {
                guard let ports = spec.ports, let slope = block[place].gradient else { continue }
                addWeightTerm(index, ports, full[place].tensor - block[place].value, slope)
            }
        }
    }

    func resetGradients() {
        for gradients in [r1Gradients, r2Gradients] { for gradient in gradients.values { gradient.reset() } }
    }

    /// Adds the contribution of one weight of a block to the gradients of the rotations merged into it: see
    /// ``RotationGradient/add(weightError:gradient:side:)``.
    func addWeightTerm(_ block: Int, _ ports: ParameterSpec.Ports, _ error: Tensor, _ slope: Tensor) {
        let (r1, r2) = (r1Gradients[block], r2Gradients[block])
        if ports.reads.readsResidual { r1?.add(weightError: error, gradient: slope, side: .input) }
        if ports.writes?.writesResidual == true { r1?.add(weightError: error, gradient: slope, side: .output) }
        if ports.writes == .value { r2?.add(weightError: error, gradient: slope, side: .output) }
        if ports.reads == .outputInput { r2?.add(weightError: error, gradient: slope, side: .input) }
    }

    // MARK: Gathering

    private static var chainTag: Int { 0 }

    /// Skew gradients of all rotations summed over blocks (R1), micro-batches and replicas, and the loss, the same bits on all
    /// ranks.
    ///
    /// Sums are in double precision and rounded once. Each stage owns a contiguous part of the result: the first stage R1 and
    /// the R2 of its blocks, others the R2 of their blocks, the last one also the loss. Each stage sums its part over the
    /// replicas, and then the stages exchange their parts. Collective.
    func gatherGradients(loss: Double, _ groups: ParallelGroups<some Communicator>) throws -> Tensor {
        let r1 = try chainedR1(groups.pipeline)
        let parts = [r1].compactMap(\.self) + base.blockRange.compactMap { r2Gradients[$0]?.skew }
        let own = DoubleStorage(zeros: parts.reduce(groups.isLast ? 1 : 0) { $0 + $1.count })
        var end = own.pointer
        for part in parts {
            Team.shareElements(part.count) { [end] in
                (end + $0.lowerBound).update(from: part.pointer + $0.lowerBound, count: $0.count)
            }
            end += part.count
        }
        if groups.isLast { end.pointee = loss }
        try groups.replicas.allReduce(own.elements, .sum)
        let rounded = own.rounded
        guard groups.dims.pipeline > 1 else { return rounded }
        let all = try groups.pipeline.allGatherRows(rounded.reshaped([rounded.count, 1]))
        return all.reshaped([all.count])
    }

    /// The skew gradient of R1 summed over the blocks of this replica, the last one first, from stage to stage. Returned on the
    /// first stage; nil on others, and where R1 is not learned.
    ///
    /// The order of the additions is that of one rank, whatever the number of stages.
    private func chainedR1(_ pipeline: some Communicator) throws -> DoubleStorage? {
        guard let any = r1Gradients.values.first else { return nil }
        let sum = DoubleStorage(zeros: any.skew.count)
        let bytes = UnsafeMutableRawBufferPointer(sum.elements)
        if pipeline.rank < pipeline.size - 1 { try pipeline.receive(bytes, from: pipeline.rank + 1, tag: Self.chainTag) }
        for block in base.blockRange.reversed() {
            guard let gradient = r1Gradients[block] else { continue }
            Team.shareElements(sum.count) {
                ck_add_doubles(sum.pointer + $0.lowerBound, gradient.skew.pointer + $0.lowerBound, $0.count)
            }
        }
        guard pipeline.rank > 0 else { return sum }
        try pipeline.send(UnsafeRawBufferPointer(bytes), to: pipeline.rank - 1, tag: Self.chainTag)
        return nil
    }
}
