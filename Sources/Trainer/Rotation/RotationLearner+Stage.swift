internal import Autograd
internal import CKernels
internal import Collectives
internal import Evaluation
internal import Models
internal import Parallelism
internal import Quantization
internal import Rotation
internal import TensorCore

/// A rank's part of a step: its stage of the passes, and how the layers' gradients come together.
extension RotationLearner {
    /// Runs this stage for the replica's sequences and gathers the gradients of its layers. Returns the replica's part of the
    /// mean loss, on the last stage; 0 on others.
    func accumulate(
        _ sequences: [[Int32]], globalSequences: Int, _ groups: ParallelGroups<some Communicator>
    ) throws -> Double {
        for gradient in (r1Gradients ?? []) + (r2Gradients ?? []) { gradient.reset() }
        guard let length = sequences.first?.count else { return 0 }
        let rotated = base.rotated(by: rotations, sides: settings.plan.sides, model.architecture)
        let weights = settings.weightQuantizer.map { quantized(rotated, $0) }
        let student = Network(
            model: model, parameters: weights ?? rotated.map { _, value in Variable(constant: value) },
            hooks: QuantizedHooks(
                quantization: settings.quantization, r1: rotations.r1, sides: settings.plan.sides, r3: online.r3, r4: online.r4,
                r1Gradients: r1Gradients, r2Gradients: r2Gradients, firstBlock: base.firstBlock))
        let counted = globalSequences * (settings.objective == .crossEntropy ? length - 1 : length)
        let passes = StagePasses(
            hidden: model.architecture.hiddenSize, microBatches: settings.microBatches, schedule: settings.schedule,
            recompute: settings.recompute, teacher: settings.objective == .divergence ? teacher : nil)
        let result = try passes.run(sequences, counted: counted, groups) { student }
        timing += result.timing
        if let weights { addWeightTerms(unquantized: rotated, quantized: weights) }
        return result.sum / Double(counted)
    }

    /// The linear layers' weights quantized, as parameters whose gradients are wanted.
    private func quantized(_ rotated: Parameters<StoredTensor>, _ quantizer: WeightQuantizer) -> Parameters<Variable> {
        rotated.mapLinears(
            weight: { Variable(parameter: quantizer.fakeQuantized($0.tensor)) }, other: { Variable(constant: $0.held) })
    }

    /// What the quantized weights contribute to the gradients of the rotations merged into them.
    private func addWeightTerms(unquantized: Parameters<StoredTensor>, quantized: Parameters<Variable>) {
        for (index, (full, block)) in zip(unquantized.blocks, quantized.blocks).enumerated() {
            for (place, spec) in block.specs.enumerated() {
                guard let ports = spec.ports, let slope = block[place].gradient else { continue }
                addWeightTerm(index, ports, full[place].tensor - block[place].value, slope)
            }
        }
    }

    /// Adds what one weight of the stage's block says of the rotations merged into it: see
    /// ``RotationGradient/add(weightError:gradient:side:)``.
    func addWeightTerm(_ block: Int, _ ports: ParameterSpec.Ports, _ error: Tensor, _ slope: Tensor) {
        let (r1, r2) = (r1Gradients?[block], r2Gradients?[block])
        if ports.reads.readsResidual { r1?.add(weightError: error, gradient: slope, side: .input) }
        if ports.writes?.writesResidual == true { r1?.add(weightError: error, gradient: slope, side: .output) }
        if ports.writes == .value { r2?.add(weightError: error, gradient: slope, side: .output) }
        if ports.reads == .outputInput { r2?.add(weightError: error, gradient: slope, side: .input) }
    }

    // MARK: Gathering

    private static var chainTag: Int { 0 }

    /// Skew gradients of all rotations summed over layers (R1), micro-batches and replicas, and the loss, the same bits on all
    /// ranks.
    ///
    /// Sums are taken in double precision and rounded once. In the order of the result a stage owns a stretch: the first stage
    /// R1 and the R2 of its layers, others the R2 of theirs, the last one also the loss. It sums its own over the replicas;
    /// then the stages exchange theirs. Collective.
    func gatherGradients(loss: Double, _ groups: ParallelGroups<some Communicator>) throws -> Tensor {
        let r1 = try chainedR1(groups.pipeline)
        let parts = [r1].compactMap(\.self) + (r2Gradients ?? []).map(\.skew)
        let own = DoubleStorage(zeros: parts.reduce(groups.isLast ? 1 : 0) { $0 + $1.count })
        var end = own.pointer
        for part in parts {
            end.update(from: part.pointer, count: part.count)
            end += part.count
        }
        if groups.isLast { end.pointee = loss }
        try groups.replicas.allReduce(own.elements, .sum)
        let rounded = own.rounded
        guard groups.dims.pipeline > 1 else { return rounded }
        let all = try groups.pipeline.allGatherRows(rounded.reshaped([rounded.count, 1]))
        return all.reshaped([all.count])
    }

    /// The skew gradient of R1 summed over the layers of this replica, the last layer first, through one stage after the other:
    /// on the first stage; nil on others, and where R1 is not learned.
    ///
    /// The order of the additions is that of one rank, whatever the number of stages.
    private func chainedR1(_ pipeline: some Communicator) throws -> DoubleStorage? {
        guard let r1Gradients, let first = r1Gradients.first else { return nil }
        let sum = DoubleStorage(zeros: first.skew.count)
        let bytes = UnsafeMutableRawBufferPointer(sum.elements)
        if pipeline.rank < pipeline.size - 1 { try pipeline.receive(bytes, from: pipeline.rank + 1, tag: Self.chainTag) }
        for gradient in r1Gradients.reversed() { ck_add_doubles(sum.pointer, gradient.skew.pointer, sum.count) }
        guard pipeline.rank > 0 else { return sum }
        try pipeline.send(UnsafeRawBufferPointer(bytes), to: pipeline.rank - 1, tag: Self.chainTag)
        return nil
    }
}
