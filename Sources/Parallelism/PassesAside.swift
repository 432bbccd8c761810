package import Collectives
internal import Support
package import TensorCore

/// Forward passes of a stage that no other pass of the step waits for, such as a fixed teacher's over the next step's tokens: a
/// stage makes them while it would otherwise wait (see `PipelineExecutor`), in their order, whenever what the stage before
/// sent of them is here.
///
/// They go from the first stage to the last as one tensor a micro-batch, beside the other messages.
package final class PassesAside<World: Communicator> {
    /// What makes a pass.
    ///
    /// - Parameters:
    ///   - input: of the stage before; nil on the first stage.
    /// - Returns: what goes to the next stage; the last one keeps it.
    package typealias Pass = (_ microbatch: Int, _ input: Tensor?) throws -> Tensor

    /// Apart from those of `PipelineExecutor`.
    private static var tag: Int { 65 }

    private let pipeline: World
    private let count: Int
    private let pass: Pass
    private let outbox: Outbox<World>
    private var inputs: Inbox<World>?
    private var made = 0
    /// Of the passes made.
    private(set) var seconds = 0.0

    /// - Parameter shapes: [rows, h] of each micro-batch.
    package init(_ pipeline: World, shapes: [[Int]], pass: @escaping Pass) throws(MPIError) {
        self.pipeline = pipeline
        self.pass = pass
        count = shapes.count
        outbox = Outbox(pipeline)
        if pipeline.rank > 0 {
            inputs = try Inbox(pipeline, from: pipeline.rank - 1, tags: Self.tag..<Self.tag + 1, shapes: shapes)
        }
    }

    private var isLast: Bool { pipeline.rank == pipeline.size - 1 }
    var isFinished: Bool { made == count }

    /// Whether the next pass can be made, and handed on, without waiting.
    func isReady() throws(MPIError) -> Bool {
        guard !isFinished else { return false }
        if let inputs { guard try inputs.hasNext() else { return false } }
        if isLast { return true }
        return try outbox.hasRoom(for: pipeline.rank + 1)
    }

    /// Makes the next pass; waits for what it needs.
    func advance() throws {
        let input = try inputs?.next()[0]
        let begin = ContinuousClock.now
        let output = try pass(made, input)
        seconds += (.now - begin) / .seconds(1)
        if !isLast { try outbox.send(output, to: pipeline.rank + 1, tag: Self.tag) }
        made += 1
        WorkProgress.note()
    }

    /// Makes all that are left.
    package func finish() throws {
        while !isFinished { try advance() }
        try outbox.finish()
    }

    func progress() throws(MPIError) {
        try outbox.progress()
        try inputs?.progress()
    }
}
