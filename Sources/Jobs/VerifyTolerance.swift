internal import Configuration
internal import HuggingFace
internal import Models
internal import TensorCore

extension VerifySettings {
    /// The tolerance between two folders. If not set, it allows for rounding: of sums where most tensors are the same, or none
    /// has 16 bits; otherwise of weights that were rotated and rounded.
    func tolerance(
        between a: (folder: ModelFolder, weights: Parameters<Tensor>), _ b: (folder: ModelFolder, weights: Parameters<Tensor>)
    ) throws -> Double {
        if let tolerance { return tolerance }
        guard try a.folder.elementType != .f32 || b.folder.elementType != .f32 else { return Self.exactTolerance }
        let (x, y) = (a.weights.named, Dictionary(uniqueKeysWithValues: b.weights.named.map { ($0.name, $0.value) }))
        let same = x.filter { name, value in y[name].map { $0.shape == value.shape && (value - $0).maxMagnitude == 0 } ?? false
        }
        return 2 * same.count > x.count ? Self.exactTolerance : Self.roundedTolerance
    }
}
