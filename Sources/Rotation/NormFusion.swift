internal import Autograd
package import Models
package import TensorCore

extension LlamaParameters {
    /// The same function with every RMSNorm gain folded into the linears that read the norm (W ← W·diag γ, γ ← 1) and the
    /// language model head untied from the embedding: the form in which R1 commutes with the norms (SpinQuant, section 3.1).
    ///
    /// Of parameters that nobody else holds, no more than a layer exists twice at a time.
    package consuming func fusingNorms() -> Self where Value: TensorValue {
        for index in layers.indices {
            let layer = layers[index]
            let (attention, feedForward) = (layer.inputNorm.tensor, layer.postAttentionNorm.tensor)
            self.layers[index].query.weight = layer.query.weight.scaledColumns(by: attention)
            self.layers[index].key.weight = layer.key.weight.scaledColumns(by: attention)
            self.layers[index].value.weight = layer.value.weight.scaledColumns(by: attention)
            self.layers[index].gate.weight = layer.gate.weight.scaledColumns(by: feedForward)
            self.layers[index].up.weight = layer.up.weight.scaledColumns(by: feedForward)
            self.layers[index].inputNorm = layer.inputNorm.mapped { $0.fill(1) }
            self.layers[index].postAttentionNorm = layer.postAttentionNorm.mapped { $0.fill(1) }
        }
        guard let norm else { return self }
        self.head = logitWeight.scaledColumns(by: norm.tensor)
        self.norm = norm.mapped { $0.fill(1) }
        // A last stage held a tied embedding as its head only.
        if !isFirst { self.embedding = nil }
        return self
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
