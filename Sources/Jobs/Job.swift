package import Collectives
package import Configuration
package import Models
package import Runs

/// A command that runs on all ranks, such as learning rotations.
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
    /// The same of a model of floats, as far as its configuration tells besides.
    ///
    /// - Parameter path: the model's.
    static func check(_ config: RunConfig, _ shape: Architecture, _ path: String) throws
    func run(_ context: JobContext<some Communicator>) throws
}

extension Job {
    package static var hasReplicas: Bool { true }
    package static func check(_ config: RunConfig) throws {}
    package static func check(_ config: RunConfig, _ shape: Architecture, _ path: String) throws {}

    /// All that the settings tell before anything is read: what is common to the jobs on a model, and ``check(_:)``.
    package static func checkSettings(_ config: RunConfig) throws {
        if PlannedJob(rawValue: name) != nil { try config.checkStorage(job: name) }
        try check(config)
    }
}

extension PlannedJob {
    /// What does it.
    var job: any Job {
        switch self {
        case .rotate: RotateJob()
        case .train: TrainJob()
        case .qat: QatJob()
        case .ptq: PtqJob()
        case .quantize: QuantizeJob()
        case .eval: EvaluateJob()
        }
    }
}
