package import Collectives
package import Configuration
package import Runs

/// A thing `sq-train` does on all ranks, such as learning rotations.
///
/// Input is read and checked inside `Communicator/agree(_:)`, so that bad input ends all ranks with the same error; an error
/// thrown elsewhere ends the others by MPI_Abort. The run folder is created once nothing can be wrong with the input any more.
package protocol Job {
    /// As in the command line and in `summary.json`.
    static var name: String { get }
    /// Whether replicas of the model share the job's work; if not, all ranks are stages.
    static var hasReplicas: Bool { get }
    /// That the job can do what the settings say, as far as they alone tell.
    static func check(_ config: RunConfig) throws
    func run(_ context: JobContext<some Communicator>) throws
}

extension Job {
    package static var hasReplicas: Bool { true }
    package static func check(_ config: RunConfig) throws {}
}
