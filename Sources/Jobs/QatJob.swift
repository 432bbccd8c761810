package import Collectives
internal import Configuration
package import Runs

/// Trains a network to run with ternary factors or with integers of a few bits (`qat.method`).
package struct QatJob: Job {
    package static let name = PlannedJob.qat.rawValue

    package init() {}

    /// Trains for ternary factors or for integers, as `qat.method` says. Collective.
    package func run(_ context: JobContext<some Communicator>) throws {
        switch context.config.qat.method {
        case .ternary: try TernaryQat(context: context).run()
        case .integer: try IntegerQat(context: context).run()
        }
    }
}
