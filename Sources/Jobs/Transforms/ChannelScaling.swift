internal import Calibration
internal import Collectives
internal import Configuration
internal import Models
internal import Runs
internal import TensorCore

/// SmoothQuant (arXiv 2211.10438): channels of normalized inputs are divided by scales that are multiplied into the weights.
struct ChannelScaling: ModelTransform {
    static let name = QuantizeSettings.Transform.smoothquant
    static let key = "smooth"
    static let label = "SmoothQuant"
    static let method: String? = "smoothquant"

    func obstacle(_ architecture: Architecture) -> String? {
        architecture.hasScalableNorms ? nil : "has no norms whose factors only linear layers read, which are what is scaled"
    }

    func apply(_ input: TransformInput<some Communicator>) throws -> Parameters<StoredTensor> {
        if let reason = obstacle(input.architecture) {
            throw TransformObstacle(reason: "this \(input.architecture.type) \(reason)")
        }
        let maxima = try Calibration.channelMaxima(
            input.run.model, input.network, windows: input.calibration, input.run.context.groups,
            storage: input.run.context.activationStorage)
        return input.network.smoothed(by: maxima, input.architecture)
    }
}
