internal import Collectives
internal import Configuration
internal import Models
internal import TensorCore

/// The network as stored.
struct AsStored: ModelTransform {
    static let name = QuantizeSettings.Transform.none
    static let key = "stored"
    static let label = "as stored"
    static let method: String? = nil

    func apply(_ input: TransformInput<some Communicator>) -> Parameters<StoredTensor> { input.network }
}
