internal import Calibration
internal import Collectives
internal import Configuration
internal import Models
internal import Runs
internal import TensorCore

/// SmoothQuant (arXiv 2211.10438): channels of normalized inputs divided by scales that the weights take.
struct ChannelScaling: ModelTransform {
    static let name = QuantizeSettings.Transform.smoothquant
    static let key = "smooth"
    static let label = "SmoothQuant"
    static let method: String? = "smoothquant"

    func readsText(_ config: RunConfig) -> Bool { true }

    func apply(_ input: TransformInput<some Communicator>) throws -> Parameters<StoredTensor> {
        let calibration = Calibration(input.run.model, input.run.context.groups)
        let maxima = try calibration.channelMaxima(input.network, windows: input.calibration)
        return input.network.smoothed(by: maxima, input.architecture)
    }
}
