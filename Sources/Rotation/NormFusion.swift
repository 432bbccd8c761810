internal import Autograd
internal import CKernels
package import Models
package import TensorCore

extension LlamaParameters {
    /// The same function with every RMSNorm gain folded into the linears that read the norm (W ← W·diag γ, γ ← 1) and the
    /// language model head untied from the embedding: the form in which R1 commutes with the norms (SpinQuant, section 3.1).
    package func fusingNorms() -> Self where Value: TensorValue {
        var result = self
        for index in layers.indices {
            let layer = layers[index]
            let (attention, feedForward) = (layer.inputNorm.tensor, layer.postAttentionNorm.tensor)
            result.layers[index].query.weight = layer.query.weight.scaledColumns(by: attention)
            result.layers[index].key.weight = layer.key.weight.scaledColumns(by: attention)
            result.layers[index].value.weight = layer.value.weight.scaledColumns(by: attention)
            result.layers[index].gate.weight = layer.gate.weight.scaledColumns(by: feedForward)
            result.layers[index].up.weight = layer.up.weight.scaledColumns(by: feedForward)
            result.layers[index].inputNorm = layer.inputNorm.mapped { $0.fill(1) }
            result.layers[index].postAttentionNorm = layer.postAttentionNorm.mapped { $0.fill(1) }
        }
        guard let norm else { return result }
        result.head = logitWeight.scaledColumns(by: norm.tensor)
        result.norm = norm.mapped { $0.fill(1) }
        // A last stage held a tied embedding as its head only.
        if !isFirst { result.embedding = nil }
        return result
    }
}

extension TensorValue {
    /// Column j times factors[j].
    fileprivate func scaledColumns(by factors: Tensor) -> Self {
        precondition(factors.count == shape.last, "\(factors.count) factors for columns of \(shape)")
        return mapped { weight in
            let (target, source, columns) = (weight.mutablePointer, factors.pointer, weight.columns)
            for row in 0..<weight.rows {
                for column in 0..<columns { target[row * columns + column] *= source[column] }
            }
        }
    }
}
