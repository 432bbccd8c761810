internal import Autograd
package import Collectives
package import Evaluation
package import Models
package import Parallelism
package import Rotation
package import TensorCore

/// Scores rotations in the quantized network. R1 is merged into the weights where these are quantized, and otherwise where the
/// plan says so.
package struct RotatedScorer {
    package let model: Model
    /// This rank's stage, with norms fused and R4 folded into the down projections.
    package let base: Parameters<StoredTensor>
    package let recipe: RotationRecipe
    package let windows: [[Int32]]

    package init(model: Model, base: Parameters<some TensorValue>, recipe: RotationRecipe, windows: [[Int32]]) {
        self.model = model
        self.base = base.map { _, value in value.stored }
        self.recipe = recipe
        self.windows = windows
    }

    /// Perplexity and divergence from full precision of the network with these rotations. Collective.
    package func score(_ rotations: Rotations, _ groups: ParallelGroups<some Communicator>) throws -> LanguageModelScore {
        let reference = Network(
            model: model, parameters: base.map { _, value in Variable(constant: value) },
            hooks: QuantizedHooks(quantization: .none, r4: recipe.online.r4))
        return try evaluate(network(rotations), against: reference, windows: windows, groups)
    }

    /// The network with these rotations, rounded as the recipe says.
    package func network(_ rotations: Rotations) -> Network<QuantizedHooks> {
        let sides = recipe.quantization.weights == nil ? recipe.learner.plan.sides : .all
        return Network(
            model: model,
            parameters: recipe.quantization.quantized(base.rotated(by: rotations, sides: sides, model.architecture)),
            hooks: QuantizedHooks(
                quantization: recipe.learner.quantization, r1: rotations.r1, sides: sides, r3: recipe.online.r3,
                r4: recipe.online.r4))
    }
}
