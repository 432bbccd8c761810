/// Operations the graph of a Llama needs: its products and attention below the diagonal; what is linear in the activations'
/// size (norms, softmax, residuals) is left out, as is customary.
package struct LlamaCost: Sendable {
    /// Multiply-adds of the layers' linears, per token.
    package let linears: Int
    /// Multiply-adds of the language model head, per token.
    package let head: Int
    private let attentionWidth: Int

    package init(_ c: LlamaConfiguration) {
        let (h, f, d) = (c.hiddenSize, c.intermediateSize, c.headDimension)
        linears = c.layers * (2 * h * c.heads * d + 2 * h * c.keyValueHeads * d + 3 * h * f)
        head = c.vocabularySize * h
        attentionWidth = c.layers * c.heads * d
    }

    /// Multiply-adds of q·kᵀ and p·v: T(T+1)/2 pairs a head and product.
    package func attention(sequences: Int, length: Int) -> Double {
        Double(attentionWidth) * Double(sequences) * Double(length) * Double(length + 1)
    }

    /// Floating-point operations of a forward pass, two per multiply-add.
    package func forward(sequences: Int, length: Int) -> Double {
        2 * (Double(sequences * length) * Double(linears + head) + attention(sequences: sequences, length: length))
    }
}
