/// What the graph of a model costs.
///
/// Operations are its products and attention below the diagonal; what is linear in the activations' size (norms, softmax,
/// residuals) is counted apart, as values written.
package struct ModelCost: Sendable {
    /// Multiply-adds of the blocks' linears, per token.
    package let linears: Int
    /// Multiply-adds of the language model head, per token.
    package let head: Int
    private let blocks: [BlockCost]

    package init(_ architecture: Architecture) {
        blocks = architecture.blocks.map { BlockCost($0, hiddenSize: architecture.hiddenSize) }
        linears = blocks.reduce(0) { $0 + $1.linears }
        head = architecture.head.count
    }

    /// What a block costs.
    package subscript(block: Int) -> BlockCost { blocks[block] }

    /// Multiply-adds of all blocks' q·kᵀ and p·v.
    package func attention(sequences: Int, length: Int) -> Double {
        blocks.reduce(0) { $0 + $1.attention(sequences: sequences, length: length) }
    }

    /// Floating-point operations of a forward pass, two per multiply-add.
    package func forward(sequences: Int, length: Int) -> Double {
        2 * (Double(sequences * length) * Double(linears + head) + attention(sequences: sequences, length: length))
    }
}

/// What one block costs.
package struct BlockCost: Sendable {
    /// Multiply-adds of its linears, per token; as many as their weights.
    package let linears: Int
    /// Values of all its parameters.
    package let parameters: Int
    private let block: Architecture.Block
    private let hiddenSize: Int

    init(_ block: Architecture.Block, hiddenSize: Int) {
        self.block = block
        self.hiddenSize = hiddenSize
        linears = block.linears.reduce(0) { $0 + $1.spec.count }
        parameters = block.parameters.reduce(0) { $0 + $1.count }
    }

    /// Multiply-adds of q·kᵀ and p·v: a product each for the pairs of positions that see each other, T(T+1)/2 a head without a
    /// window.
    package func attention(sequences: Int, length: Int) -> Double {
        guard let heads = block.heads else { return 0 }
        return Double(heads.query * heads.dimension) * Double(sequences) * 2 * pairs(length, heads.window)
    }

    /// Pairs of a position and one it sees.
    private func pairs(_ length: Int, _ window: Int?) -> Double {
        let (t, w) = (Double(length), Double(min(window ?? length, length)))
        return t * w - w * (w - 1) / 2
    }

    /// Multiply-adds of the forward pass, per token of sequences of `length`.
    package func forward(length: Int) -> Double {
        Double(linears) + attention(sequences: 1, length: length) / Double(length)
    }

    /// Values that norms, rotary embedding, softmax, gating and residual sums write forward, per token of a sequence of
    /// `length`.
    package func values(length: Int) -> Double {
        let streams = block.norms.count + block.residualOutputs.count
        let softmax = block.heads.map { Double($0.query) * pairs(length, $0.window) / Double(length) } ?? 0
        return Double(streams * hiddenSize + block.width(.query) + block.width(.key) + block.width(.downInput)) + softmax
    }

    /// Values kept per token for the backward pass: inputs of norms, attention's operands and result, what gating takes; and,
    /// where weights want gradients, the linears' inputs.
    package func activations(weightGradients: Bool) -> Int {
        let inner = block.linears.reduce(0) { $0 + ($1.ports.writes?.writesResidual == true ? 0 : $1.spec.shape[0]) }
        let inputs = block.residualInputs.reduce(0) { $0 + block.width($1) } + block.width(.downInput)
        return block.norms.count * hiddenSize + inner + block.width(.outputInput) + (weightGradients ? inputs : 0)
    }

    /// Values kept per token for the products of the weights' gradients: what the linears read, and the gradients of what they
    /// write.
    package var linearsEnds: Int {
        let inputs = block.residualInputs.reduce(0) { $0 + block.width($1) } + block.width(.outputInput)
        return inputs + block.width(.downInput) + block.linears.reduce(0) { $0 + $1.spec.shape[0] }
    }
}
