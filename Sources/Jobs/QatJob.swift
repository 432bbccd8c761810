package import Collectives
internal import Compression
package import Configuration
package import Models
package import Runs
internal import TernarySVD
internal import Trainer

/// Trains a network to run with ternary factors or with integers of a few bits (`qat.method`).
package struct QatJob: Job {
    package static let name = ModelJob.qat.rawValue

    package init() {}

    /// Checks that no setting belongs to another method or job.
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
            _ = try config.ternary.transition(seed: config.training.seed)
        case .integer:
            guard config.ternary.path == nil else { throw ConfigurationError("ternary.path", "is for qat.method=ternary") }
        }
    }

    /// Checks that the model has the layers that the settings name, or can be rounded and rotated as asked.
    package static func check(_ config: RunConfig, _ shape: Architecture, _ path: String) throws {
        switch config.qat.method {
        case .ternary:
            // With given factors, the file determines the layers.
            if config.ternary.path == nil { _ = try config.ternary.layers.choose(among: shape.linears) }
        case .integer:
            let recipe = QuantizationRecipe(config, shape)
            try recipe.checkGroups(shape, bits: config.quantization.weights.bits)
            if recipe.weights != nil { try config.checkExports(Execution(config: config), shape) }
            if config.qat.rotations != nil { try shape.checkRotatable(path) }
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
