internal import Autograd
internal import LinearAlgebra
package import Models
package import TensorCore

extension Llama {
    /// Logits [tokens.count, vocabulary] of one sequence.
    package func logits(_ tokens: [Int32], _ parameters: LlamaParameters<Tensor>) -> Tensor {
        let variables = parameters.map { _, tensor in Variable(constant: tensor) }
        let x = hiddenStates(
            tokens, variables, context: CausalBatch(sequences: 1, length: tokens.count), on: Tape(recording: false))
        return matmul(x.value, .asStored, parameters.logitWeight, .transposed)
    }
}

/// The largest change of a logit between two networks, relative to the largest logit of the first: max|a − b| / max|a|.
package func relativeLogitChange(_ a: Tensor, _ b: Tensor) -> Double {
    Double((a - b).maxMagnitude) / Double(max(a.maxMagnitude, .leastNormalMagnitude))
}
