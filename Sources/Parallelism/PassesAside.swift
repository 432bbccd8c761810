package import Collectives
internal import Support
package import TensorCore

/// Forward passes of a stage that no other pass of the step depends on, such as a fixed teacher's over the next step's tokens.
/// A stage computes them, in order, while it would otherwise wait (see `PipelineExecutor`), each as soon as its input has
/// arrived from the stage before.
///
/// From stage to stage each micro-batch is one tensor [rows, h], with a message tag of its own.
package final class PassesAside<World: Communicator> {
    /// Computes the pass of a micro-batch.
    ///
    /// - Parameters:
    ///   - input: the output of the stage before, [rows, h]; nil on the first stage.
    /// - Returns: the input of the next stage, [rows, h]; on the last stage it is not used.
    package typealias Pass = (_ microbatch: Int, _ input: Tensor?) throws -> Tensor

    /// Differs from the tags of `PipelineExecutor`.
    private static var tag: Int { 65 }

    private let pipeline: World
    private let count: Int
    private let pass: Pass
    private let outbox: Outbox<World>
    private var inputs: Inbox<World>?
    private var made = 0
    /// Seconds that the passes took so far.
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

    /// Whether the next pass can be computed, and its output sent, without waiting.
    func isReady() throws(MPIError) -> Bool {
        guard !isFinished else { return false }
        if let inputs { guard try inputs.hasNext() else { return false } }
        if isLast { return true }
        return try outbox.hasRoom(for: pipeline.rank + 1)
    }

    /// Computes the next pass; waits for its input if necessary.
    func advance() throws {
        let input = try inputs?.next()[0]
        let begin = ContinuousClock.now
        let output = try pass(made, input)
        seconds += (.now - begin) / .seconds(1)
        if !isLast { try outbox.send(output, to: pipeline.rank + 1, tag: Self.tag) }
        made += 1
        WorkProgress.note()
    }

    /// Computes all remaining passes.
    package func finish() throws {
        while !isFinished { try advance() }
        try outbox.finish()
    }

    func progress() throws(MPIError) {
        try outbox.progress()
        try inputs?.progress()
    }
}
