internal import Autograd
package import TensorCore

extension LlamaConfiguration {
    /// Every tensor a checkpoint of this shape holds, by name, with its shape.
    package var tensorShapes: LlamaParameters<[Int]> {
        let (h, f, d) = (hiddenSize, intermediateSize, headDimension)
        func linear(_ out: Int, _ into: Int, bias: Bool) -> LinearLayer<[Int]> {
            LinearLayer(weight: [out, into], bias: bias ? [out] : nil)
        }
        let layer = LlamaLayer<[Int]>(
            inputNorm: [h],
            query: linear(heads * d, h, bias: inputBias),
            key: linear(keyValueHeads * d, h, bias: inputBias),
            value: linear(keyValueHeads * d, h, bias: inputBias),
            output: linear(h, heads * d, bias: outputBias),
            queryNorm: headNorms ? [d] : nil,
            keyNorm: headNorms ? [d] : nil,
            postAttentionNorm: [h],
            gate: linear(f, h, bias: feedForwardBias),
            up: linear(f, h, bias: feedForwardBias),
            down: linear(h, f, bias: feedForwardBias))
        return LlamaParameters(
            embedding: [vocabularySize, h], layers: [LlamaLayer](repeating: layer, count: layers), norm: [h],
            head: tiedEmbeddings ? nil : [vocabularySize, h])
    }
}

extension LlamaParameters<Tensor> {
    /// Reads every tensor the configuration asks for.
    ///
    /// - Parameter read: returns the tensor of this name, and throws if it is missing or has another shape.
    package init<Failure>(
        _ configuration: LlamaConfiguration, read: (_ name: String, _ shape: [Int]) throws(Failure) -> Tensor
    ) throws(Failure) {
        self = try configuration.tensorShapes.map { name, shape throws(Failure) in try read(name, shape) }
    }
}
