package import Models

/// Floating-point operations that learning rotations needs beside the network's own: the products of the definition, each once,
/// and attention below the diagonal only. Recomputation, and what ranks do alike, is not counted twice.
package struct RotationCost: Sendable {
    /// Multiply-adds of applying R1 at some sites: once a step where it is merged into the weights, else for each token, forward
    /// and backward.
    package struct Sites: Sendable, Equatable {
        package var once = 0.0
        package var perToken = 0.0
    }

    private let model: LlamaCost
    private let configuration: LlamaConfiguration
    private let plan: RotationPlan

    package init(_ c: LlamaConfiguration, _ plan: RotationPlan) {
        model = LlamaCost(c)
        configuration = c
        self.plan = plan
    }

    /// Rotating a layer's four sides, as planned.
    package var layer: Sites {
        let c = configuration
        let queryKeyValue = (c.heads + 2 * c.keyValueHeads) * c.headDimension
        return sites([
            (plan.sides.attentionInput, queryKeyValue), (plan.sides.attentionOutput, c.heads * c.headDimension),
            (plan.sides.feedForwardInput, 2 * c.intermediateSize), (plan.sides.feedForwardOutput, c.intermediateSize),
        ])
    }

    /// Nothing flows back from the embedding: in the activations, one pass.
    package var embedding: Sites { sites([(plan.sides.embedding, configuration.vocabularySize)], passes: 1) }
    package var head: Sites { sites([(plan.sides.head, configuration.vocabularySize)]) }

    private func sites(_ sites: [(inWeights: Bool, rows: Int)], passes: Int = 2) -> Sites {
        let square = Double(configuration.hiddenSize * configuration.hiddenSize)
        var result = Sites()
        for site in sites {
            if site.inWeights { result.once += Double(site.rows) * square } else { result.perToken += Double(passes) * square }
        }
        return result
    }

    /// Multiply-adds of gathering the gradients at a layer's quantisers, per token: of R1 at two, of R2 at two.
    package func layerGradients(r1: Bool, r2: Bool) -> Double {
        let c = configuration
        let (h, d) = (c.hiddenSize, c.headDimension)
        return Double((r1 ? 2 * h * h : 0) + (r2 ? (c.heads + c.keyValueHeads) * d * d : 0))
    }

    /// Of a step, over all ranks.
    ///
    /// - Parameters:
    ///   - sequences: sequences of `length` tokens in a step, over all ranks.
    ///   - teacher: whether the full-precision network runs forward too (objective kl).
    ///   - weightGradients: whether weights are quantised in training, so that their gradients are needed.
    package func operationsPerStep(
        sequences: Int, length: Int, teacher: Bool, weightGradients: Bool, r1: Bool, r2: Bool
    ) -> Double {
        let layers = Double(configuration.layers)
        let tokens = Double(sequences * length)
        let attention = model.attention(sequences: sequences, length: length)
        let products = tokens * Double(model.linears + model.head)
        let forward = products + attention
        let backward = products + 2 * attention + (weightGradients ? tokens * Double(model.linears) : 0)
        let gradients = layers * tokens * layerGradients(r1: r1, r2: r2)
        let once = layers * layer.once + embedding.once + head.once
        let perToken = layers * layer.perToken + embedding.perToken + head.perToken
        return 2 * ((teacher ? 2 : 1) * forward + backward + gradients + once + tokens * perToken)
    }
}
