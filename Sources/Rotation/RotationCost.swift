package import Models

/// Floating-point operations of learning rotations, besides the network's own: each product of the definition once, and
/// attention only below the diagonal. Recomputation, and work that ranks repeat, is not counted twice.
package struct RotationCost: Sendable {
    /// Multiply-adds of applying R1 at some sites: once a step where it is merged into the weights, else for each token,
    /// forward and backward.
    package struct Sites: Sendable, Equatable {
        package var once = 0.0
        package var perToken = 0.0
    }

    private let model: ModelCost
    private let architecture: Architecture
    private let plan: RotationPlan
    private let hasR1: Bool

    /// - Parameter hasR1: whether there is an R1 to apply, learned or not.
    package init(_ architecture: Architecture, _ plan: RotationPlan, hasR1: Bool = true) {
        model = ModelCost(architecture)
        self.architecture = architecture
        (self.plan, self.hasR1) = (plan, hasR1)
    }

    /// Rotating a block's sides, as planned.
    package func block(_ index: Int) -> Sites {
        let block = architecture.blocks[index]
        return sites((block.residualInputs + block.residualOutputs).map { ($0, block.rotatedRows($0)) })
    }

    /// No gradient flows back from the embedding, so that rotating its activations takes one pass.
    package var embedding: Sites { sites([(.embedding, architecture.vocabularySize)], passes: 1) }
    package var head: Sites { sites([(.headInput, architecture.vocabularySize)]) }

    private func sites(_ sites: [(point: HookPoint, rows: Int)], passes: Int = 2) -> Sites {
        let square = Double(architecture.hiddenSize * architecture.hiddenSize)
        var result = Sites()
        guard hasR1 else { return result }
        for site in sites {
            if plan.sides.contains(site.point) {
                result.once += Double(site.rows) * square
            } else {
                result.perToken += Double(passes) * square
            }
        }
        return result
    }

    /// Multiply-adds of gathering the gradients at a block's quantizers, per token: of R1 where the residual stream is read, of
    /// R2 at the values and the output projection's input.
    package func gradients(_ index: Int, r1: Bool, r2: Bool) -> Double {
        let block = architecture.blocks[index]
        let (h, d) = (architecture.hiddenSize, block.heads?.dimension ?? 0)
        return Double(
            (r1 ? block.residualInputs.count * h * h : 0) + (r2 ? (block.width(.value) + block.width(.outputInput)) * d : 0))
    }

    /// Operations of rotating a block's stored rows, and of the products that give their gradients of the rotations.
    package func rowOperations(_ index: Int, tokens: Double, r1: Bool, r2: Bool) -> Double {
        4 * tokens * gradients(index, r1: r1, r2: r2)
    }

    /// Operations of rotating a block's weights, and of the products that give their gradients of the rotations.
    package func weightOperations(_ index: Int, r1: Bool, r2: Bool) -> Double {
        let block = architecture.blocks[index]
        let (h, d) = (Double(architecture.hiddenSize), Double(block.heads?.dimension ?? 0))
        let sides = (block.residualInputs + block.residualOutputs).reduce(0) { $0 + block.rotatedRows($1) }
        let values = Double(block.width(.value) + block.width(.outputInput))
        return 4 * ((r1 ? Double(sides) * h * h : 0) + (r2 ? values * h * d : 0))
    }

    /// Operations of a step that does not run the network, over all ranks. `tokens` is the number of stored tokens; nil for the
    /// objective on weights.
    package func operationsPerStep(storedTokens tokens: Int?, r1: Bool, r2: Bool) -> Double {
        architecture.blocks.indices.reduce(0) { sum, block in
            sum
                + (tokens.map { rowOperations(block, tokens: Double($0), r1: r1, r2: r2) }
                    ?? weightOperations(block, r1: r1, r2: r2))
        }
    }

    /// Operations of a step, over all ranks.
    ///
    /// - Parameters:
    ///   - sequences: sequences of `length` tokens in a step, over all ranks.
    ///   - teacher: whether the full-precision network runs forward too (objective kl).
    ///   - weightGradients: whether weights are quantized in training, so that their gradients are needed.
    package func operationsPerStep(
        sequences: Int, length: Int, teacher: Bool, weightGradients: Bool, r1: Bool, r2: Bool
    ) -> Double {
        let tokens = Double(sequences * length)
        let attention = model.attention(sequences: sequences, length: length)
        let products = tokens * Double(model.linears + model.head)
        let forward = products + attention
        // Where no rotation is learned nothing requires a gradient.
        let backward = r1 || r2 ? products + 2 * attention + (weightGradients ? tokens * Double(model.linears) : 0) : 0
        let blocks = architecture.blocks.indices
        let gradients = tokens * blocks.reduce(0) { $0 + self.gradients($1, r1: r1, r2: r2) }
        let sites = blocks.map(block)
        let once = sites.reduce(embedding.once + head.once) { $0 + $1.once }
        let perToken = sites.reduce(embedding.perToken + head.perToken) { $0 + $1.perToken }
        return 2 * ((teacher ? 2 : 1) * forward + backward + gradients + once + tokens * perToken)
    }
}
