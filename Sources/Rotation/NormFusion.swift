internal import Autograd
internal import CKernels
package import Models
package import TensorCore

extension LlamaParameters<Tensor> {
    /// The same function with every RMSNorm gain folded into the linears that read the norm (W ← W·diag γ, γ ← 1) and the
    /// language model head untied from the embedding: the form in which R1 commutes with the norms (SpinQuant, section 3.1).
    package func fusingNorms() -> LlamaParameters<Tensor> {
        var result = self
        for index in layers.indices {
            let (attention, feedForward) = (layers[index].inputNorm, layers[index].postAttentionNorm)
            result.layers[index].query.weight.scaleColumns(by: attention)
            result.layers[index].key.weight.scaleColumns(by: attention)
            result.layers[index].value.weight.scaleColumns(by: attention)
            result.layers[index].gate.weight.scaleColumns(by: feedForward)
            result.layers[index].up.weight.scaleColumns(by: feedForward)
            result.layers[index].inputNorm.fill(1)
            result.layers[index].postAttentionNorm.fill(1)
        }
        guard let norm else { return result }
        var head = logitWeight
        head.scaleColumns(by: norm)
        result.head = head
        result.norm?.fill(1)
        // A last stage held a tied embedding as its head only.
        if !isFirst { result.embedding = nil }
        return result
    }
}

extension Tensor {
    /// Column j times factors[j].
    fileprivate mutating func scaleColumns(by factors: Tensor) {
        precondition(factors.count == columns, "\(factors.count) factors for \(columns) columns")
        let (target, source) = (mutablePointer, factors.pointer)
        for row in 0..<rows {
            for column in 0..<columns { target[row * columns + column] *= source[column] }
        }
    }
}
