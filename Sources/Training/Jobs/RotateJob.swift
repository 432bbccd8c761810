package import Collectives

/// Learns rotations for a model.
package struct RotateJob: Job {
    package static let name = "rotate"

    package init() {}

    package func run(_ context: JobContext<some Communicator>) throws {
        try context.folder.create(context.config)
        context.reporter.note("run folder \(context.folder.path)")
    }
}
