package import Models

/// Floating-point operations that a step of rotation learning needs, over all ranks: the products of the definition, each
/// once, and attention below the diagonal only. Recomputation, and what ranks do alike, is not counted twice.
package struct RotationCost: Sendable {
    private let model: LlamaCost
    private let configuration: LlamaConfiguration
    private let plan: RotationPlan

    package init(_ c: LlamaConfiguration, _ plan: RotationPlan) {
        model = LlamaCost(c)
        configuration = c
        self.plan = plan
    }

    /// - Parameters:
    ///   - sequences: sequences of `length` tokens in a step, over all ranks.
    ///   - teacher: whether the full-precision network runs forward too (objective kl).
    ///   - weightGradients: whether weights are quantised in training, so that their gradients are needed.
    package func operationsPerStep(
        sequences: Int, length: Int, teacher: Bool, weightGradients: Bool, r1: Bool, r2: Bool
    ) -> Double {
        let c = configuration
        let tokens = sequences * length
        let attention = model.attention(sequences: sequences, length: length)
        let products = Double(tokens) * Double(model.linears + model.head)
        let forward = products + attention
        let backward = products + 2 * attention + (weightGradients ? Double(tokens) * Double(model.linears) : 0)
        var total = (teacher ? 2 : 1) * forward + backward
        let h = Double(c.hiddenSize)
        let d = Double(c.headDimension)
        // The gradient of R1 at two quantisers a layer, of R2 at two.
        if r1 { total += Double(2 * c.layers * tokens) * h * h }
        if r2 { total += Double(c.layers * (c.heads + c.keyValueHeads) * tokens) * d * d }
        total += rotationMultiplyAdds(tokens: tokens)
        return 2 * total
    }

    /// Rotating weights (once) or activations (each token), as planned.
    private func rotationMultiplyAdds(tokens: Int) -> Double {
        let c = configuration
        let square = Double(c.hiddenSize * c.hiddenSize)
        func site(_ inWeights: Bool, rows: Int, passes: Int = 2) -> Double { Double(inWeights ? rows : passes * tokens) * square }
        let sides = plan.sides
        let queryKeyValue = (c.heads + 2 * c.keyValueHeads) * c.headDimension
        let layer =
            site(sides.attentionInput, rows: queryKeyValue) + site(sides.attentionOutput, rows: c.heads * c.headDimension)
            + site(sides.feedForwardInput, rows: 2 * c.intermediateSize) + site(sides.feedForwardOutput, rows: c.intermediateSize)
        return Double(c.layers) * layer + site(sides.embedding, rows: c.vocabularySize, passes: 1)
            + site(sides.head, rows: c.vocabularySize)
    }
}
