package import Collectives
package import Configuration
package import Runs
internal import TernarySVD

/// Trains a network to run with ternary factors or with integers of a few bits (`qat.method`).
package struct QatJob: Job {
    package static let name = PlannedJob.qat.rawValue

    package init() {}

    /// That no setting is another method's or job's.
    package static func check(_ config: RunConfig) throws {
        switch config.qat.method {
        case .ternary:
            guard config.qat.rotations == nil else {
                throw ConfigurationError("qat.rotations", "is for qat.method=integer; ternary layers need no rotation")
            }
            guard config.ternary.weighting == .none, config.ternary.bits == nil else {
                throw ConfigurationError(
                    config.ternary.bits == nil ? "ternary.weighting" : "ternary.bits",
                    "is for ptq; qat starts from its factors with ternary.path=RUN")
            }
        case .integer:
            guard config.ternary.path == nil else { throw ConfigurationError("ternary.path", "is for qat.method=ternary") }
        }
    }

    /// Trains for ternary factors or for integers, as `qat.method` says. Collective.
    package func run(_ context: JobContext<some Communicator>) throws {
        switch context.config.qat.method {
        case .ternary: try TernaryQat(context: context).run()
        case .integer: try IntegerQat(context: context).run()
        }
    }
}
