internal import Autograd
package import Collectives
package import Evaluation
package import Models
package import Parallelism
internal import Rotation
internal import Support
package import TensorCore
package import Trainer

/// A network's score as it is, and with weights, activations and cache rounded to nearest, without any rotation.
package struct PlainScore: Sendable {
    package let fullPrecision: LanguageModelScore
    package let rounded: LanguageModelScore

    /// - Parameter parameters: of this rank's stage, as the model's folder has them. Norm gains stay where they are: what a
    ///   linear
    ///   reads is the normalized input times the gain, and that is what is rounded. Folding them into the weights first gives
    ///   each row columns of very different sizes, and can cost several times the perplexity.
    /// - Throws: ``EvaluationError/uniform(vocabulary:)`` where the network itself predicts nothing.
    package init(
        _ model: Model, _ parameters: Parameters<some TensorValue>, _ recipe: QuantizationRecipe, _ windows: [[Int32]],
        _ groups: ParallelGroups<some Communicator>
    ) throws {
        try self.init(model, parameters, rounded: recipe.quantized(parameters), recipe, windows, groups)
    }

    /// - Parameter rounded: the weights rounded to nearest in another way than the recipe's.
    init(
        _ model: Model, _ parameters: Parameters<some TensorValue>, rounded: Parameters<Variable>, _ recipe: QuantizationRecipe,
        _ windows: [[Int32]], _ groups: ParallelGroups<some Communicator>
    ) throws {
        let perplexity = try evaluate(
            model.constantNetwork(parameters), against: Network<IdentityHooks>?.none, windows: windows, groups)
        try groups.world.agree { try perplexity.checkAlive(vocabulary: model.architecture.vocabularySize) }
        fullPrecision = .reference(perplexity: perplexity.perplexity)
        self.rounded = try recipe.score(model, parameters, rounded: rounded, windows, groups)
    }

    package var line: String {
        "full precision: perplexity \(fullPrecision.perplexity.formatted(decimals: 2)); "
            + "rounded to nearest: \(rounded.perplexity.formatted(decimals: 2))"
    }
}

extension QuantizationRecipe {
    /// The network of these parameters with weights, activations and cache rounded to nearest, compared with the network
    /// itself. Collective.
    func score(
        _ model: Model, _ parameters: Parameters<some TensorValue>, _ windows: [[Int32]],
        _ groups: ParallelGroups<some Communicator>
    ) throws -> LanguageModelScore {
        try score(model, parameters, rounded: quantized(parameters), windows, groups)
    }

    fileprivate func score(
        _ model: Model, _ parameters: Parameters<some TensorValue>, rounded: Parameters<Variable>, _ windows: [[Int32]],
        _ groups: ParallelGroups<some Communicator>
    ) throws -> LanguageModelScore {
        let network = Network(model: model, parameters: rounded, hooks: QuantizedHooks(quantization: activations))
        return try evaluate(network, against: model.constantNetwork(parameters), windows: windows, groups)
    }
}
