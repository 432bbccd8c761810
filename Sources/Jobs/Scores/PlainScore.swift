internal import Autograd
internal import Collectives
package import Evaluation
internal import Models
internal import Parallelism
internal import Rotation
internal import Support
internal import TensorCore
internal import Trainer

/// A network's score in full precision, and with weights, activations and cache rounded to nearest, without any rotation.
package struct PlainScore: Sendable {
    package let fullPrecision: LanguageModelScore
    package let rounded: LanguageModelScore

    /// - Parameters:
    ///   - parameters: parameters of this rank's stage, as stored in the model's folder. Norm gains are not folded: a linear's
    ///     rounded input is the normalized value times the gain. Folding gains into the weights first gives each row columns of
    ///     very different sizes, and can multiply the perplexity.
    ///   - plan: rounding of weights; `recipe`: rounding of activations and cache.
    /// - Throws: ``EvaluationError/uniform(vocabulary:)`` where the network itself predicts all tokens with equal probability.
    init(
        _ model: Model, _ parameters: Parameters<some TensorValue>, _ plan: WeightPlan, _ recipe: QuantizationRecipe,
        _ windows: [[Int32]], _ groups: ParallelGroups<some Communicator>
    ) throws {
        let perplexity = try evaluate(
            model.constantNetwork(parameters), against: Network<IdentityHooks>?.none, windows: windows, groups)
        try groups.world.agree { try perplexity.checkAlive(vocabulary: model.architecture.vocabularySize) }
        fullPrecision = .reference(perplexity: perplexity.perplexity)
        rounded = try recipe.score(model, parameters, plan, windows, groups)
    }

    package var line: String {
        "full precision: perplexity \(fullPrecision.perplexity.formatted(decimals: 2)); "
            + "rounded to nearest: \(rounded.perplexity.formatted(decimals: 2))"
    }
}

extension QuantizationRecipe {
    /// The score of the network of these parameters with weights, activations and cache rounded to nearest, compared with the
    /// network itself. Collective.
    func score(
        _ model: Model, _ parameters: Parameters<some TensorValue>, _ plan: WeightPlan, _ windows: [[Int32]],
        _ groups: ParallelGroups<some Communicator>
    ) throws -> LanguageModelScore {
        try evaluate(
            network(model, parameters, plan), against: model.constantNetwork(parameters), windows: windows, groups)
    }

    /// The network of these parameters with weights, activations and cache rounded to nearest. A tied embedding becomes two
    /// matrices where the plan rounds embedding and head differently.
    func network(_ model: Model, _ parameters: Parameters<some TensorValue>, _ plan: WeightPlan) -> Network<QuantizedHooks> {
        var parameters = parameters
        if plan.untiesHead, parameters.isLast, parameters.tiesHead {
            parameters.untie(model.architecture.head, head: parameters.logitWeight)
        }
        let rounded = parameters.rounded(by: { plan[$0] }, table: { plan[$0] })
        return Network(model: model, parameters: rounded, hooks: QuantizedHooks(quantization: activations))
    }
}
