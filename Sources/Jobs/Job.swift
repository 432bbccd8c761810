package import Collectives
package import Configuration
package import Models
package import Runs

/// A command that runs on all ranks, such as learning rotations.
///
/// Input is read and checked inside `Communicator/agree(_:)`, so that bad input ends all ranks with the same error; an error
/// thrown elsewhere ends the other ranks by MPI_Abort. The run folder is created after all input has been checked.
package protocol Job {
    /// The name on the command line and in `summary.json`.
    static var name: String { get }
    /// Whether replicas of the model share the job's work; if not, all ranks are stages.
    static var hasReplicas: Bool { get }
    /// Checks that the job can do what the settings ask, as far as the settings alone show.
    static func check(_ config: RunConfig) throws
    /// The same for a model of floats, as far as its configuration shows.
    ///
    /// - Parameter path: path of the model.
    static func check(_ config: RunConfig, _ shape: Architecture, _ path: String) throws
    func run(_ context: JobContext<some Communicator>) throws
}

extension Job {
    package static var hasReplicas: Bool { true }
    package static func check(_ config: RunConfig) throws {}
    package static func check(_ config: RunConfig, _ shape: Architecture, _ path: String) throws {}

    /// Checks everything that the settings show before anything is read: the checks common to all jobs on a model, and
    /// ``check(_:)``.
    package static func checkSettings(_ config: RunConfig) throws {
        if let job = ModelJob(rawValue: name) { try config.check(job: job) }
        try check(config)
    }
}

extension ModelJob {
    /// The job that does the work.
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
