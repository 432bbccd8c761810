package import Autograd
package import Collectives
internal import Glibc
internal import Support
package import TensorCore

/// Runs a stage's schedule: receives the input of an action, performs it, and sends its output, while messages travel in the
/// background.
///
/// A micro-batch crosses a stage boundary forward as `streams` tensors (the hidden states of as many networks) and
/// backward as one (the gradient of the first one's), all [rows, h].
///
/// While a message has not arrived, the stage computes the queued products of a ``WeightGradientQueue``, then `PassesAside`.
/// When these are computed varies from run to run, but their results do not.
///
/// With one stage nothing is received or sent, and the actions run one after the other: one rank takes the same path as many.
package final class PipelineExecutor<World: Communicator> {
    /// Tags that distinguish the messages of both directions between two stages.
    private enum Tag {
        static func forward(_ streams: Int) -> Range<Int> { 0..<streams }
        static var backward: Range<Int> { 64..<65 }
    }

    private let pipeline: World
    private let outbox: Outbox<World>
    private var inputs: Inbox<World>?
    private var gradients: Inbox<World>?
    package private(set) var timing = PipelineTiming()

    package init(_ pipeline: World) {
        self.pipeline = pipeline
        outbox = Outbox(pipeline)
    }

    private var isFirst: Bool { pipeline.rank == 0 }
    private var isLast: Bool { pipeline.rank == pipeline.size - 1 }

    /// Performs `actions` in order; the other stages must run the same schedule. Errors are thrown on this stage alone: the job
    /// must then be ended (``Communicator/abort(_:)``), since the other stages wait.
    ///
    /// - Parameters:
    ///   - shape: [rows, h] of a micro-batch.
    ///   - streams: tensors of a forward message.
    ///   - aside: passes computed while the stage waits for messages, and the remaining ones at the end.
    ///   - weightGradients: the queue to which `backward` adds products; they are computed while the stage waits for messages,
    ///     earlier once the queue holds those of more than `deferred` backward passes, and the remaining ones at the end.
    ///   - forward: maps the tensors from the stage before (none on the first stage) to those for the next stage (none on the
    ///     last stage).
    ///   - backward: maps the gradient of the first tensor that `forward` sent (nil on the last stage) to that of the first
    ///     tensor it received (nil on the first stage).
    package func run(
        _ actions: [PipelineAction], shape: (_ microbatch: Int) -> [Int], streams: Int, aside: PassesAside<World>? = nil,
        weightGradients: WeightGradientQueue? = nil, deferred: Int = 0,
        forward: (_ microbatch: Int, _ inputs: [Tensor]) throws -> [Tensor],
        backward: (_ microbatch: Int, _ gradient: Tensor?) throws -> Tensor? = { _, _ in nil }
    ) throws {
        let start = ContinuousClock.now
        defer { inputs = nil; gradients = nil }
        if !isFirst {
            let shapes = actions.compactMap { if case .forward(let m) = $0 { shape(m) } else { nil } }
            inputs = try Inbox(pipeline, from: pipeline.rank - 1, tags: Tag.forward(streams), shapes: shapes)
        }
        if !isLast {
            let shapes = actions.compactMap { if case .backward(let m) = $0 { shape(m) } else { nil } }
            gradients = try Inbox(pipeline, from: pipeline.rank + 1, tags: Tag.backward, shapes: shapes)
        }
        let fillers = Fillers(weightGradients: weightGradients, aside: aside)
        for action in actions {
            switch action {
            case .forward(let m):
                try fill(with: fillers, until: inputs)
                let received = try inputs?.next() ?? []
                let outputs = try timed(\.forward, .forward, m) { try forward(m, received) }
                if !isLast {
                    precondition(outputs.count == streams, "\(outputs.count) tensors of \(streams) to send")
                    for (tag, output) in zip(Tag.forward(streams), outputs) {
                        try outbox.send(output, to: pipeline.rank + 1, tag: tag)
                    }
                }
            case .backward(let m):
                try fill(with: fillers, until: gradients)
                let received = try gradients?.next()[0]
                let gradient = try timed(\.backward, .backward, m) { try backward(m, received) }
                if !isFirst, let gradient { try outbox.send(gradient, to: pipeline.rank - 1, tag: Tag.backward.lowerBound) }
                if let weightGradients {
                    weightGradients.endPass()
                    try make(weightGradients) { weightGradients.passCount > deferred }
                }
            }
            WorkProgress.note()
            try Trace.span(.poll) { () throws(MPIError) in try progress() }
            try aside?.progress()
        }
        if let weightGradients { try make(weightGradients) { true } }
        try outbox.finish()
        try aside?.finish()
        timing.aside += aside?.seconds ?? 0
        timing.total += (.now - start) / .seconds(1)
    }

    /// Computes these passes where no schedule runs.
    package func run(_ aside: PassesAside<World>) throws {
        timing.total += try seconds { try aside.finish() }
        timing.aside += aside.seconds
    }

    /// The work of an action, the seconds of which are added to `part`.
    private func timed<Result>(
        _ part: WritableKeyPath<PipelineTiming, Double>, _ kind: Trace.Kind, _ microbatch: Int, _ work: () throws -> Result
    ) throws -> Result {
        let start = ContinuousClock.now
        defer { timing[keyPath: part] += (.now - start) / .seconds(1) }
        return try Trace.span(kind, microbatch, work)
    }

    /// What is computed while the stage waits for a message.
    private struct Fillers {
        let weightGradients: WeightGradientQueue?
        let aside: PassesAside<World>?
    }

    /// Computes what is pending until a message has arrived.
    private func fill(with fillers: Fillers, until inbox: Inbox<World>?) throws {
        guard let inbox else { return }
        if let weightGradients = fillers.weightGradients {
            try make(weightGradients) { () throws(MPIError) in try !inbox.hasNext() }
        }
        guard let aside = fillers.aside else { return }
        while try !aside.isFinished && !inbox.hasNext() {
            if try aside.isReady() {
                try aside.advance()
            } else {
                try waitForEither(inbox, aside)
            }
        }
    }

    /// Computes queued products, as many as there are while they are wanted.
    private func make(
        _ weightGradients: WeightGradientQueue, while areWanted: () throws(MPIError) -> Bool
    ) throws(MPIError) {
        guard weightGradients.passCount > 0, try areWanted() else { return }
        timing.weightGradients += try seconds { () throws(MPIError) in
            try Trace.span(.weightGradients) { () throws(MPIError) in
                repeat {
                    weightGradients.advance()
                    try progress()
                    guard try areWanted() else { return }
                } while weightGradients.passCount > 0
            }
        }
        WorkProgress.note()
    }

    /// Waits for a message, or until a pass aside can be computed.
    private func waitForEither(_ inbox: Inbox<World>, _ aside: PassesAside<World>) throws(MPIError) {
        try Trace.span(.wait) { () throws(MPIError) in
            try pipeline.waiting(in: "MPI_Test") { () throws(MPIError) in
                while true {
                    if try inbox.hasNext() { return }
                    if try aside.isReady() { return }
                    try outbox.progress()
                    // As MPI does where it waits: a rank on the same core may be what is waited for.
                    sched_yield()
                }
            }
        }
    }

    /// Lets MPI move messages, sooner than its own thread would.
    private func progress() throws(MPIError) {
        guard pipeline.size > 1 else { return }
        try outbox.progress()
        try inputs?.progress()
        try gradients?.progress()
    }
}
