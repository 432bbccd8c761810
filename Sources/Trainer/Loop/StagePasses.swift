internal import Autograd
internal import Collectives
internal import Models
internal import Parallelism
internal import Support
internal import TensorCore

/// The forward and backward passes of a training step through this rank's stage, micro-batch by micro-batch.
struct StagePasses<TeacherHooks: HookTransform> {
    /// Width of what crosses from stage to stage.
    let hidden: Int
    let microBatches: MicroBatches
    let schedule: PipelineSchedule
    let recompute: Bool
    let precision: ProductPrecision
    /// This stage of the network whose predictions are learned; nil learns the text's tokens.
    let teacher: Network<TeacherHooks>?

    /// What a micro-batch leaves on a stage between its passes.
    private struct Alive {
        let tape: Tape
        /// What came from the stage before; nil on the first stage.
        let input: Variable?
        /// Of the stage's output, which the next stage has, or on the last stage of the loss.
        let output: GradientSink

        /// - Parameter gradient: of the output; nil for the loss.
        /// - Returns: the gradient of the input; nil on the first stage.
        func backward(_ gradient: Tensor?) -> Tensor? {
            tape.backward(from: output, gradient: gradient ?? Tensor([1], []))
            // Nothing reaches the input where nothing learns, as where no quantizer is observed.
            return input.map { $0.gradient ?? Tensor(zeros: $0.shape) }
        }
    }

    /// - Parameters:
    ///   - sequences: of equal lengths, of this rank's replica.
    ///   - counted: predictions of the whole step; the loss is their mean.
    ///   - student: this stage of the network that learns, asked for before each micro-batch: several are under way at a time,
    ///     and leaves that hand their gradients over must be each one's own.
    ///   - beforeBackward: told before each backward pass whether it is the last.
    /// - Returns: the losses summed, on the last stage; 0 on others.
    func run<Hooks: HookTransform>(
        _ sequences: [[Int32]], counted: Int, _ groups: ParallelGroups<some Communicator>, student: () -> Network<Hooks>,
        beforeBackward: (_ isLast: Bool) -> Void = { _ in }
    ) throws -> (sum: Double, timing: PipelineTiming) {
        let batches = microBatches.ranges(sequences.count).map { Array(sequences[$0]) }
        let executor = PipelineExecutor(groups.pipeline)
        var alive: [Int: Alive] = [:]
        var sum = 0.0
        try executor.run(
            schedule.actions(stage: groups.stage, stages: groups.dims.pipeline, microbatches: batches.count),
            shape: { index in [batches[index].reduce(0) { $0 + $1.count }, hidden] }, streams: teacher == nil ? 1 : 2,
            forward: { index, inputs in
                let pass = forward(index, batches[index], inputs, student(), counted: counted, isLast: groups.isLast)
                alive[index] = pass.alive
                sum += pass.loss
                return pass.outputs
            },
            backward: { index, gradient in
                guard let pass = alive.removeValue(forKey: index) else { preconditionFailure("backward before forward") }
                beforeBackward(index == batches.count - 1)
                return pass.backward(gradient)
            })
        return (sum, executor.timing)
    }

    private func forward(
        _ index: Int, _ batch: [[Int32]], _ inputs: [Tensor], _ student: Network<some HookTransform>, counted: Int,
        isLast: Bool
    ) -> (alive: Alive, loss: Double, outputs: [Tensor]) {
        let tape = Tape(precision: precision)
        let input = inputs.first.map { Variable(parameter: $0) }
        let x = student.hiddenStates(batch, from: input, recompute: recompute, on: tape)
        let reference = teacher.map { teacher in
            let state = inputs.isEmpty ? nil : Variable(constant: inputs[1])
            return Trace.span(.teacher, index) {
                teacher.hiddenStates(batch, from: state, on: Tape(recording: false, precision: precision)).value
            }
        }
        guard isLast else {
            return (Alive(tape: tape, input: input, output: x.sink), 0, [x.value] + (reference.map { [$0] } ?? []))
        }
        let target: LogitTarget =
            if let reference, let teacher {
                .teacher(hidden: reference, head: teacher.parameters.logitWeight)
            } else {
                .tokens(batch.flatMap { $0.dropFirst() + [-1] })
            }
        let (loss, sum) = Trace.span(.loss, index) {
            tape.languageModelLoss(x, head: student.parameters.logitWeight, target, scale: 1 / Float(counted))
        }
        return (Alive(tape: tape, input: input, output: loss.sink), sum, [])
    }
}
