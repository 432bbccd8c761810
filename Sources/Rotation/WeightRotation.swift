internal import Autograd
internal import LinearAlgebra
package import Models
package import TensorCore

/// Which sides of a model's matrices carry R1. What is not rotated in the weights is rotated in the activations
/// (see ``RotationPlan``); R2 is always in the weights, where it costs d/h of what R1 does.
package struct RotatedSides: Sendable, Equatable {
    /// E·R1.
    package var embedding = true
    /// W·R1 for q, k, v.
    package var attentionInput = true
    /// R1ᵀ·W for o.
    package var attentionOutput = true
    /// W·R1 for gate, up.
    package var feedForwardInput = true
    /// R1ᵀ·W for down.
    package var feedForwardOutput = true
    /// H·R1 for the language model head.
    package var head = true

    package static let all = RotatedSides()
    /// All in the activations.
    package static let none = RotatedSides(
        embedding: false, attentionInput: false, attentionOutput: false, feedForwardInput: false, feedForwardOutput: false,
        head: false)
}

extension LlamaParameters {
    /// The parameters, of a model or a stage, with R1 merged on the given sides and R2 in v and o.
    ///
    /// E·R1, H·R1; q, k, v, gate, up: W·R1; o, down: R1ᵀ·W and R1ᵀ·b; v per key-value head: R2ᵀ·W_head and R2ᵀ·b_head;
    /// o per query head's columns: W_head·R2. The function is unchanged when norms have been fused
    /// (``fusingNorms()``) and all sides are rotated.
    package func rotated(
        by rotations: Rotations, sides: RotatedSides = .all, _ configuration: LlamaConfiguration
    ) -> Self where Value: TensorValue {
        var result = self
        let r1 = rotations.r1
        if sides.embedding { result.embedding = embedding?.rotatedInput(by: r1) }
        if sides.head, isLast { result.head = logitWeight.rotatedInput(by: r1) }
        for index in layers.indices {
            let layer = layers[index]
            let r2 = rotations.r2?[firstLayer + index]
            let value = layer.value.rotatedHeads(by: r2)
            let output = LinearLayer(weight: layer.output.weight.rotatedBlocks(by: r2), bias: layer.output.bias)
            if sides.attentionInput {
                result.layers[index].query.weight = layer.query.weight.rotatedInput(by: r1)
                result.layers[index].key.weight = layer.key.weight.rotatedInput(by: r1)
                result.layers[index].value = LinearLayer(weight: value.weight.rotatedInput(by: r1), bias: value.bias)
            } else {
                result.layers[index].value = value
            }
            result.layers[index].output = sides.attentionOutput ? output.rotatedOutput(by: r1) : output
            if sides.feedForwardInput {
                result.layers[index].gate.weight = layer.gate.weight.rotatedInput(by: r1)
                result.layers[index].up.weight = layer.up.weight.rotatedInput(by: r1)
            }
            if sides.feedForwardOutput { result.layers[index].down = layer.down.rotatedOutput(by: r1) }
        }
        return result
    }

    /// The parameters with R4 on the input side of every down projection (W ← W·H): its input must then be transformed online.
    package func rotatedDown(by r4: HadamardTransform) -> Self where Value: TensorValue {
        var result = self
        for index in layers.indices {
            result.layers[index].down.weight = layers[index].down.weight.mapped { r4.apply(&$0) }
        }
        return result
    }
}

extension LinearLayer where Value: TensorValue {
    /// Rᵀ·W and Rᵀ·b.
    fileprivate func rotatedOutput(by r: Tensor?) -> Self {
        guard let r else { return self }
        return LinearLayer(
            weight: weight.mapped { $0 = matmul(r, .transposed, $0) },
            bias: bias?.mapped { $0 = matmul($0.reshaped([1, $0.count]), .asStored, r).reshaped($0.shape) })
    }

    /// Each block of d rows (a head): R2ᵀ·W_head, and its bias likewise.
    fileprivate func rotatedHeads(by r2: Tensor?) -> Self {
        guard let r2 else { return self }
        return LinearLayer(
            weight: weight.mapped { $0 = $0.rotatedRowBlocks(by: r2) },
            bias: bias?.mapped { $0 = matmul($0.reshaped([$0.count / r2.rows, r2.rows]), .asStored, r2).reshaped($0.shape) })
    }
}

extension TensorValue {
    /// W·R.
    fileprivate func rotatedInput(by r: Tensor?) -> Self {
        guard let r else { return self }
        return mappedRows { $0 = matmul($0, .asStored, r) }
    }

    /// Each block of d columns (a head): W_head·R2.
    fileprivate func rotatedBlocks(by r2: Tensor?) -> Self {
        guard let r2 else { return self }
        return mapped { $0 = matmul($0.reshaped([$0.count / r2.rows, r2.rows]), .asStored, r2).reshaped($0.shape) }
    }
}

extension Tensor {
    /// Each block of d rows (a head): R2ᵀ·W_head.
    fileprivate func rotatedRowBlocks(by r2: Tensor) -> Tensor {
        let (d, n) = (r2.rows, columns)
        var rotated = Tensor(uninitialized: shape)
        let target = rotated.mutablePointer
        for first in stride(from: 0, to: rows, by: d) {
            gemm(
                .transposed, .asStored, m: d, n: n, k: d, r2.pointer, lda: d, pointer + first * n, ldb: n,
                target + first * n, ldc: n)
        }
        return rotated
    }
}
