internal import Autograd
package import TensorCore

extension LlamaConfiguration {
    /// Every tensor a checkpoint of this shape holds, by name, with its shape.
    package var tensorShapes: LlamaParameters<[Int]> { tensorShapes(0..<layers) }

    /// The same of the stage that holds these layers.
    ///
    /// - Parameter tied: whether the embedding serves as head too; nil: as the configuration says.
    package func tensorShapes(_ stage: Range<Int>, tied: Bool? = nil) -> LlamaParameters<[Int]> {
        precondition(!stage.isEmpty && stage.lowerBound >= 0 && stage.upperBound <= layers, "layers \(stage) of \(layers)")
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
        let (isFirst, isLast, tied) = (stage.lowerBound == 0, stage.upperBound == layers, tied ?? tiedEmbeddings)
        return LlamaParameters(
            firstLayer: stage.lowerBound, embedding: isFirst || isLast && tied ? [vocabularySize, h] : nil,
            layers: [LlamaLayer](repeating: layer, count: stage.count), norm: isLast ? [h] : nil,
            head: isLast && !tied ? [vocabularySize, h] : nil)
    }
}

extension LlamaParameters<Tensor> {
    /// Reads every tensor the configuration asks for.
    ///
    /// - Parameters:
    ///   - stage: the layers to read; nil for the whole model.
    ///   - read: returns the tensor of this name, and throws if it is missing or has another shape.
    package init<Failure>(
        _ configuration: LlamaConfiguration, stage: Range<Int>? = nil,
        read: (_ name: String, _ shape: [Int]) throws(Failure) -> Tensor
    ) throws(Failure) {
        let shapes = configuration.tensorShapes(stage ?? 0..<configuration.layers)
        self = try shapes.map { name, shape throws(Failure) in try read(name, shape) }
    }
}
