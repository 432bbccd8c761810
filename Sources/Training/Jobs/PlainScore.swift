internal import Autograd
package import Collectives
package import Evaluation
package import Models
package import Parallelism
internal import Rotation
package import TensorCore

/// A network's score as it is, and with weights, activations and cache rounded to nearest, without any rotation.
package struct PlainScore: Sendable {
    package let fullPrecision: Double
    package let rounded: LanguageModelScore

    /// - Parameter parameters: of this rank's stage, with fused norms, so that what is quantised is the normalised input itself, as with rotations.
    package init(
        _ model: Model, _ parameters: Parameters<some TensorValue>, _ recipe: QuantizationRecipe, _ windows: [[Int32]],
        _ groups: ParallelGroups<some Communicator>
    ) throws {
        let reference = model.constantNetwork(parameters)
        fullPrecision = try evaluate(reference, against: Network<IdentityHooks>?.none, windows: windows, groups).perplexity
        let quantized = Network(
            model: model, parameters: recipe.quantized(parameters), hooks: QuantizedHooks(quantization: recipe.activations))
        rounded = try evaluate(quantized, against: reference, windows: windows, groups)
    }

    package var line: String {
        "full precision: perplexity \(fullPrecision.formatted(decimals: 2)); "
            + "rounded to nearest: \(rounded.perplexity.formatted(decimals: 2))"
    }
}
