package import Collectives
internal import Support
package import TensorCore

/// Where the time of a stage's passes went, in seconds.
package struct PipelineTiming: Sendable, Equatable {
    package var total = 0.0
    /// Of `total`, what was spent waiting for messages.
    package var waiting = 0.0

    package init() {}

    /// Adds the times of further passes.
    package static func += (timing: inout PipelineTiming, other: PipelineTiming) {
        timing.total += other.total
        timing.waiting += other.waiting
    }

    package init(total: Double, waiting: Double) { (self.total, self.waiting) = (total, waiting) }

    /// Fractions of the stages' time, over all ranks.
    package struct Waiting: Sendable, Equatable {
        /// In which they waited.
        package var measured = 0.0
        /// In which they would have waited with free messages: the first micro-batch passes all stages, the slowest one sets
        /// the pace of the others.
        package var least = 0.0

        /// The time of passes that wait no more than they must, over what they took.
        package var efficiency: Double { (1 - measured) / (1 - least) }
    }

    /// - Parameters:
    ///   - timings: of all ranks, the stages of a replica one after the other.
    ///   - microbatches: of a step, of one replica.
    package static func waiting(_ timings: [PipelineTiming], stages: Int, microbatches: Int) -> Waiting {
        let total = timings.reduce(0) { $0 + $1.total }
        let busy = timings.map { max(0, $0.total - $0.waiting) }
        let least = stride(from: 0, to: busy.count, by: stages).reduce(0.0) { sum, first in
            let replica = busy[first..<first + stages]
            let fill = replica.reduce(0, +) / Double(max(1, microbatches))
            return sum + Double(stages) * (fill + (1 - 1 / Double(max(1, microbatches))) * (replica.max() ?? 0))
        }
        let work = busy.reduce(0, +)
        return Waiting(measured: total > 0 ? 1 - work / total : 0, least: least > 0 ? 1 - work / least : 0)
    }
}

/// Runs a stage's schedule: receives what an action needs, performs it, and sends what comes of it, while messages travel in
/// the background.
///
/// A micro-batch crosses a stage boundary forward as `streams` tensors (the student's hidden states, and a teacher's) and
/// backward as one (the gradient of the student's), all [rows, h].
///
/// With one stage nothing is received or sent, and the actions run one after the other: one rank goes the same way as many.
package final class PipelineExecutor<World: Communicator> {
    /// Messages of both directions between two stages are told apart by these.
    private enum Tag {
        static func forward(_ streams: Int) -> Range<Int> { 0..<streams }
        static var backward: Range<Int> { 64..<65 }
    }

    private let pipeline: World
    private let outbox: Outbox<World>
    private var inputs: Inbox<World>?
    private var gradients: Inbox<World>?
    /// Thrown by a progress call inside an action, which cannot throw.
    private var failure: MPIError?
    package private(set) var timing = PipelineTiming()

    package init(_ pipeline: World) {
        self.pipeline = pipeline
        outbox = Outbox(pipeline)
    }

    private var isFirst: Bool { pipeline.rank == 0 }
    private var isLast: Bool { pipeline.rank == pipeline.size - 1 }

    /// Goes through `actions`; the other stages must run the same schedule. Errors are thrown on this stage alone: the job must
    /// then be ended (``Communicator/abort(_:)``), since the other stages wait.
    ///
    /// - Parameters:
    ///   - shape: [rows, h] of a micro-batch.
    ///   - streams: tensors of a forward message.
    ///   - forward: gets what the stage before sent (nothing on the first stage), returns what goes to the next one (nothing
    ///     on the last stage).
    ///   - backward: gets the gradient of what `forward` sent (nil on the last stage), returns that of the first tensor it
    ///     got (nil on the first stage).
    package func run(
        _ actions: [PipelineAction], shape: (_ microbatch: Int) -> [Int], streams: Int,
        forward: (_ microbatch: Int, _ inputs: [Tensor]) throws -> [Tensor],
        backward: (_ microbatch: Int, _ gradient: Tensor?) throws -> Tensor? = { _, _ in nil }
    ) throws {
        let start = ContinuousClock.now
        let sendWait = outbox.waitSeconds
        defer { inputs = nil; gradients = nil }
        if !isFirst {
            let shapes = actions.compactMap { if case .forward(let m) = $0 { shape(m) } else { nil } }
            inputs = try Inbox(pipeline, from: pipeline.rank - 1, tags: Tag.forward(streams), shapes: shapes)
        }
        if !isLast {
            let shapes = actions.compactMap { if case .backward(let m) = $0 { shape(m) } else { nil } }
            gradients = try Inbox(pipeline, from: pipeline.rank + 1, tags: Tag.backward, shapes: shapes)
        }
        for action in actions {
            switch action {
            case .forward(let m):
                let received = try inputs?.next() ?? []
                let outputs = try Trace.span(.forward, m) { try forward(m, received) }
                if !isLast {
                    precondition(outputs.count == streams, "\(outputs.count) tensors of \(streams) to send")
                    for (tag, output) in zip(Tag.forward(streams), outputs) {
                        try outbox.send(output, to: pipeline.rank + 1, tag: tag)
                    }
                }
            case .backward(let m):
                let received = try gradients?.next()[0]
                let gradient = try Trace.span(.backward, m) { try backward(m, received) }
                if !isFirst, let gradient { try outbox.send(gradient, to: pipeline.rank - 1, tag: Tag.backward.lowerBound) }
            }
            WorkProgress.note()
            Trace.span(.poll) { progress() }
            if let failure { throw failure }
        }
        try outbox.finish()
        timing.total += (.now - start) / .seconds(1)
        timing.waiting += (inputs?.waitSeconds ?? 0) + (gradients?.waitSeconds ?? 0) + outbox.waitSeconds - sendWait
    }

    /// Lets MPI move messages: it does so only when it is called. To be called now and then by long actions.
    package func progress() {
        guard failure == nil, pipeline.size > 1 else { return }
        do throws(MPIError) {
            try outbox.progress()
            try inputs?.progress()
            try gradients?.progress()
        } catch {
            failure = error
        }
    }
}
