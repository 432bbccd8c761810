internal import Autograd
internal import Collectives
internal import Models
internal import Parallelism
internal import Support
internal import TensorCore

/// The forward and backward passes of a training step through this rank's stage, micro-batch by micro-batch.
///
/// A teacher's passes do not depend on an update. With several stages, those over the next step's sequences are made while the
/// stages would otherwise wait for each other in this step. Without a teacher, products of weights' gradients are made then;
/// both together would keep more in memory and hardly shorten what is left of the waiting.
final class StagePasses<TeacherHooks: HookTransform> {
    /// Width of the hidden states that stages send to each other.
    let hidden: Int
    let microBatches: MicroBatches
    let schedule: PipelineSchedule
    let recompute: Bool
    let precision: ProductPrecision
    /// This stage of the network whose predictions are learned; nil learns the text's tokens.
    let teacher: Network<TeacherHooks>?
    /// Sequences on which this stage of the teacher has already run, ahead of their step.
    private var made: [[Int32]] = []
    /// The teacher's hidden states by micro-batch, on the last stage, until they are used.
    private var references: [Int: Tensor] = [:]

    init(
        hidden: Int, microBatches: MicroBatches, schedule: PipelineSchedule, recompute: Bool, precision: ProductPrecision,
        teacher: Network<TeacherHooks>?
    ) {
        self.hidden = hidden
        self.microBatches = microBatches
        self.schedule = schedule
        self.recompute = recompute
        self.precision = precision
        self.teacher = teacher
    }

    /// What a stage keeps of a micro-batch between its forward and its backward pass.
    private struct Alive {
        let tape: Tape
        /// The input from the previous stage; nil on the first stage.
        let input: Variable?
        /// The gradient sink of the stage's output, which the next stage has, or, on the last stage, of the loss.
        let output: GradientSink

        /// - Parameter gradient: gradient of the output; nil for the loss.
        /// - Returns: the gradient of the input; nil on the first stage.
        func backward(_ gradient: Tensor?) -> Tensor? {
            tape.backward(from: output, gradient: gradient ?? Tensor([1], []))
            // No gradient reaches the input where nothing learns, for example where no quantizer is observed.
            return input.map { $0.gradient ?? Tensor(zeros: $0.shape) }
        }
    }

    /// - Parameters:
    ///   - batch: sequences of equal lengths, of this rank's replica.
    ///   - counted: number of predictions in the whole step, over which the loss is the mean.
    ///   - student: makes this stage of the learning network for each micro-batch, since several are under way at a time and
    ///     each needs leaves of its own that pass on their gradients.
    /// - Returns: on the last stage the sum of the losses; 0 on others.
    func run<Hooks: HookTransform, World: Communicator>(
        _ batch: ReplicaBatch, counted: Int, _ groups: ParallelGroups<World>, student: () -> Network<Hooks>
    ) throws -> (sum: Double, timing: PipelineTiming) {
        let batches = cut(batch.sequences)
        let executor = PipelineExecutor(groups.pipeline)
        if batch.sequences != made, let own = try teacherPasses(batch.sequences, groups.pipeline) { try executor.run(own) }
        var current = references
        references = [:]
        let ahead = try teacherPasses(batch.next, groups.pipeline)
        let (stage, stages, count) = (groups.stage, groups.dims.pipeline, batches.count)
        let defers = teacher == nil && !recompute
        let deferred = defers ? schedule.deferred(stage: stage, stages: stages, microbatches: count) : 0
        let weightGradients = deferred > 0 ? WeightGradientQueue() : nil
        var alive: [Int: Alive] = [:]
        var sum = 0.0
        try executor.run(
            schedule.actions(stage: stage, stages: stages, microbatches: count), shape: { self.shape(batches[$0]) }, streams: 1,
            aside: ahead, weightGradients: weightGradients,
            deferred: deferred,
            forward: { index, inputs in
                let reference =
                    groups.isLast ? current.removeValue(forKey: index) ?? teacherStates(index, batches[index]) : nil
                let pass = forward(
                    index, batches[index], inputs.first, student(), reference, counted: counted, isLast: groups.isLast,
                    on: Tape(precision: precision, weightGradients: weightGradients))
                alive[index] = pass.alive
                sum += pass.loss
                return pass.output.map { [$0] } ?? []
            },
            backward: { index, gradient in
                guard let pass = alive.removeValue(forKey: index) else { preconditionFailure("backward before forward") }
                return pass.backward(gradient)
            })
        return (sum, executor.timing)
    }

    private func cut(_ sequences: [[Int32]]) -> [[[Int32]]] {
        microBatches.ranges(sequences.count).map { Array(sequences[$0]) }
    }

    private func shape(_ batch: [[Int32]]) -> [Int] { [batch.reduce(0) { $0 + $1.count }, hidden] }

    /// The teacher's passes over sequences through all stages, whose results ``references`` will hold; nil without a teacher,
    /// and with one stage, which runs the teacher where its results are used.
    private func teacherPasses<World: Communicator>(
        _ sequences: [[Int32]], _ pipeline: World
    ) throws(MPIError) -> PassesAside<World>? {
        guard teacher != nil, pipeline.size > 1 else { return nil }
        made = sequences
        let batches = cut(sequences)
        let isLast = pipeline.rank == pipeline.size - 1
        return try PassesAside(pipeline, shapes: batches.map(shape)) { [unowned self] index, input in
            guard let states = teacherStates(index, batches[index], from: input) else { preconditionFailure("no teacher") }
            if isLast { references[index] = states }
            return states
        }
    }

    /// The output of the teacher's stage for a micro-batch; nil without a teacher.
    private func teacherStates(_ index: Int, _ batch: [[Int32]], from input: Tensor? = nil) -> Tensor? {
        teacher.map { teacher in
            Trace.span(.teacher, index) {
                teacher.hiddenStates(
                    batch, from: input.map { Variable(constant: $0) }, on: Tape(recording: false, precision: precision)
                ).value
            }
        }
    }

    /// - Parameter reference: on the last stage, the teacher's hidden states after its last block.
    private func forward(
        _ index: Int, _ batch: [[Int32]], _ input: Tensor?, _ student: Network<some HookTransform>, _ reference: Tensor?,
        counted: Int, isLast: Bool, on tape: Tape
    ) -> (alive: Alive, loss: Double, output: Tensor?) {
        let input = input.map { Variable(parameter: $0) }
        let x = student.hiddenStates(batch, from: input, recompute: recompute, on: tape)
        guard isLast else { return (Alive(tape: tape, input: input, output: x.sink), 0, x.value) }
        let target: LogitTarget =
            if let reference, let teacher {
                .teacher(hidden: reference, head: teacher.parameters.logitWeight)
            } else {
                .tokens(batch.flatMap { $0.dropFirst() + [-1] })
            }
        let (loss, sum) = Trace.span(.loss, index) {
            tape.languageModelLoss(x, head: student.parameters.logitWeight, target, scale: 1 / Float(counted))
        }
        return (Alive(tape: tape, input: input, output: loss.sink), sum, nil)
    }
}
