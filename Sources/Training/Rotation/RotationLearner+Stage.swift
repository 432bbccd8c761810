internal import Autograd
internal import Collectives
internal import Evaluation
internal import Models
internal import Parallelism
internal import Quantization
internal import Rotation
internal import TensorCore

/// A rank's part of a step: its stage of the passes, and how the layers' gradients come together.
extension RotationLearner {
    /// Runs this stage for the replica's sequences and gathers the gradients of its layers. Returns the replica's part of the mean
    /// loss, on the last stage; 0 on others.
    func accumulate(
        _ sequences: [[Int32]], globalSequences: Int, _ groups: ParallelGroups<some Communicator>
    ) throws -> Double {
        for gradient in (r1Gradients ?? []) + (r2Gradients ?? []) { gradient.reset() }
        guard let length = sequences.first?.count else { return 0 }
        let rotated = base.rotated(by: rotations, sides: settings.plan.sides, model.configuration)
        let weights = quantizedWeights(of: rotated)
        let executor = PipelineExecutor(groups.pipeline)
        let student = Network(
            model: model, parameters: weights ?? rotated.map { _, tensor in Variable(constant: tensor) },
            sites: QuantizedSites(
                quantization: settings.quantization, r1: rotations.r1, sides: settings.plan.sides, r3: online.r3, r4: online.r4,
                r1Gradients: r1Gradients, r2Gradients: r2Gradients, firstLayer: base.firstLayer))
        let counted = globalSequences * (settings.objective == .crossEntropy ? length - 1 : length)
        let batches = settings.microBatches.ranges(sequences.count).map { Array(sequences[$0]) }
        var alive: [Int: Alive] = [:]
        var sum = 0.0
        try executor.run(
            settings.schedule.actions(stage: groups.stage, stages: groups.dims.pipeline, microbatches: batches.count),
            shape: { [batches[$0].count * length, base.layers[0].inputNorm.count] },
            streams: settings.objective == .divergence ? 2 : 1,
            forward: { index, inputs in
                let pass = forward(batches[index], inputs, student, counted: counted, isLast: groups.isLast)
                alive[index] = pass.alive
                sum += pass.loss
                return pass.outputs
            },
            backward: { index, gradient in
                guard let pass = alive.removeValue(forKey: index) else { preconditionFailure("backward before forward") }
                return pass.backward(gradient)
            })
        timing += executor.timing
        if let weights { addWeightTerms(unquantized: rotated, quantized: weights) }
        return sum / Double(counted)
    }

    /// What a micro-batch leaves on a stage between its passes.
    private struct Alive {
        let tape: Tape
        /// What came from the stage before; nil on the first stage.
        let input: Variable?
        /// The stage's output, or on the last stage the loss.
        let output: Variable

        /// - Parameter gradient: of the output; nil for the loss.
        /// - Returns: the gradient of the input; nil on the first stage.
        func backward(_ gradient: Tensor?) -> Tensor? {
            tape.backward(from: output, gradient: gradient ?? Tensor([1], []))
            // Nothing reaches the input where no quantiser is observed.
            return input.map { $0.gradient ?? Tensor(zeros: $0.value.shape) }
        }
    }

    private func forward(
        _ batch: [[Int32]], _ inputs: [Tensor], _ student: Network<QuantizedSites>, counted: Int, isLast: Bool
    ) -> (alive: Alive, loss: Double, outputs: [Tensor]) {
        let tape = Tape()
        let input = inputs.first.map { Variable(parameter: $0) }
        let x = student.hiddenStates(batch, from: input, recompute: settings.recompute, on: tape)
        let reference =
            settings.objective == .divergence ? teacher.outputs(batch, from: inputs.isEmpty ? nil : inputs[1]) : nil
        guard isLast else {
            return (Alive(tape: tape, input: input, output: x), 0, [x.value] + (reference.map { [$0] } ?? []))
        }
        let target = reference.map { LogitTarget.teacher(hidden: $0, head: teacher.parameters.logitWeight.value) }
        let (loss, sum) = tape.languageModelLoss(
            x, head: student.parameters.logitWeight, target ?? .tokens(batch.flatMap { $0.dropFirst() + [-1] }),
            scale: 1 / Float(counted))
        return (Alive(tape: tape, input: input, output: loss), sum, [])
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
            let (r1, r2) = (r1Gradients?[index], r2Gradients?[index])
            for (full, layer) in [
                (full.query, layer.query), (full.key, layer.key), (full.value, layer.value), (full.gate, layer.gate),
                (full.up, layer.up),
            ] { add(full, layer, r1, .input) }
            add(full.output, layer.output, r1, .output)
            add(full.down, layer.down, r1, .output)
            add(full.value, layer.value, r2, .output)
            add(full.output, layer.output, r2, .input)
        }
    }

    // MARK: Gathering

    private static var chainTag: Int { 0 }

    /// Skew gradients of all rotations summed over layers (R1), micro-batches and replicas, and the loss, the same bits on all ranks.
    ///
    /// In the order of the result a stage owns a stretch: the first stage R1 and the R2 of its layers, others the R2 of theirs,
    /// the last one also the loss. It sums its own over the replicas; then the stages exchange theirs. Collective.
    func gatherGradients(loss: Double, _ groups: ParallelGroups<some Communicator>) throws -> Tensor {
        var parts: [Tensor] = []
        if let r1 = try chainedR1(groups.pipeline) { parts.append(r1) }
        parts += (r2Gradients ?? []).map { SkewMatrix.pack($0.sum) }
        if groups.isLast { parts.append(Tensor([Float(loss)], [1])) }
        var own = Tensor(joining: parts)
        try groups.replicas.allReduceSum(&own)
        guard groups.dims.pipeline > 1 else { return own }
        let all = try groups.pipeline.allGatherRows(own.reshaped([own.count, 1]))
        return all.reshaped([all.count])
    }

    /// The skew gradient of R1 summed over the layers of this replica, the last layer first, through one stage after the other: on
    /// the first stage; nil on others, and where R1 is not learned.
    ///
    /// The order of the additions is that of one rank, whatever the number of stages.
    private func chainedR1(_ pipeline: some Communicator) throws -> Tensor? {
        guard let r1Gradients, let n = r1Gradients.first?.n else { return nil }
        let count = SkewMatrix.packedCount(order: n)
        let isLast = pipeline.rank == pipeline.size - 1
        var sum = isLast ? Tensor(zeros: [count]) : try pipeline.receive([count], from: pipeline.rank + 1, tag: Self.chainTag)
        for gradient in r1Gradients.reversed() { sum.add(SkewMatrix.pack(gradient.sum)) }
        guard pipeline.rank > 0 else { return sum }
        try pipeline.send(sum, to: pipeline.rank - 1, tag: Self.chainTag)
        return nil
    }
}

extension Tensor {
    /// Vectors one after the other.
    fileprivate init(joining parts: [Tensor]) {
        self.init(uninitialized: [parts.reduce(0) { $0 + $1.count }])
        let target = mutablePointer
        var offset = 0
        for part in parts {
            (target + offset).update(from: part.pointer, count: part.count)
            offset += part.count
        }
    }
}
