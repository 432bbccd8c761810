/// What the graph of a Llama costs.
///
/// Operations are its products and attention below the diagonal; what is linear in the activations' size (norms, softmax,
/// residuals) is counted apart, as values written.
package struct LlamaCost: Sendable {
    /// Multiply-adds of one layer's linears, per token; as many as their weights.
    package let layerLinears: Int
    /// Multiply-adds of the layers' linears, per token.
    package let linears: Int
    /// Multiply-adds of the language model head, per token.
    package let head: Int
    /// Values of all of one layer's parameters.
    package let layerParameters: Int
    private let configuration: LlamaConfiguration

    package init(_ c: LlamaConfiguration) {
        let (h, f, d) = (c.hiddenSize, c.intermediateSize, c.headDimension)
        configuration = c
        layerLinears = 2 * h * c.heads * d + 2 * h * c.keyValueHeads * d + 3 * h * f
        linears = c.layers * layerLinears
        head = c.vocabularySize * h
        let biases =
            (c.inputBias ? (c.heads + 2 * c.keyValueHeads) * d : 0) + (c.outputBias ? h : 0) + (c.feedForwardBias ? 2 * f + h : 0)
        layerParameters = layerLinears + 2 * h + (c.headNorms ? 2 * d : 0) + biases
    }

    /// Multiply-adds of one layer's q·kᵀ and p·v: T(T+1)/2 pairs a head and product.
    package func layerAttention(sequences: Int, length: Int) -> Double {
        Double(configuration.heads * configuration.headDimension) * Double(sequences) * Double(length) * Double(length + 1)
    }

    /// The same of all layers.
    package func attention(sequences: Int, length: Int) -> Double {
        Double(configuration.layers) * layerAttention(sequences: sequences, length: length)
    }

    /// Multiply-adds of one layer's forward pass, per token of sequences of `length`.
    package func layer(length: Int) -> Double {
        Double(layerLinears) + layerAttention(sequences: 1, length: length) / Double(length)
    }

    /// Floating-point operations of a forward pass, two per multiply-add.
    package func forward(sequences: Int, length: Int) -> Double {
        2 * (Double(sequences * length) * Double(linears + head) + attention(sequences: sequences, length: length))
    }

    /// Values that norms, rotary embedding, softmax, gating and residual sums of one layer write forward, per token of a
    /// sequence of `length`.
    package func layerValues(length: Int) -> Double {
        let c = configuration
        let rotary = (c.heads + c.keyValueHeads) * c.headDimension
        return Double(4 * c.hiddenSize + rotary + c.intermediateSize) + Double(c.heads) * Double(length + 1) / 2
    }

    /// Values that one layer keeps per token for its backward pass: inputs of norms, attention's operands and result, gate and
    /// up; and, where weights want gradients, the linears' inputs.
    package func layerActivations(weightGradients: Bool) -> Int {
        let c = configuration
        let (h, f) = (c.hiddenSize, c.intermediateSize)
        let attention = 2 * (c.heads + c.keyValueHeads) * c.headDimension
        return 2 * h + attention + 2 * f + (weightGradients ? 2 * h + f : 0)
    }
}
