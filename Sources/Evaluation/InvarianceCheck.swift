internal import Autograd
package import Collectives
internal import LinearAlgebra
package import Models
package import Parallelism
package import TensorCore

extension Llama {
    /// Logits [tokens.count, vocabulary] of one sequence, from a whole model.
    package func logits(_ tokens: [Int32], _ parameters: LlamaParameters<some TensorValue>) -> Tensor {
        let x = constantNetwork(parameters).outputs([tokens], from: nil)
        return matmul(x, .asStored, parameters.logitWeight.tensor, .transposed)
    }

    /// The network of these parameters, without anything at its sites.
    package func constantNetwork(_ parameters: LlamaParameters<some TensorValue>) -> Network<Untouched> {
        Network(model: self, parameters: parameters.map { _, tensor in Variable(constant: tensor) }, sites: Untouched())
    }

    /// How far the logits of one sequence are apart between two sets of parameters, each of this rank's stage; the same on all
    /// ranks. Collective.
    package func logitChange(
        _ tokens: [Int32], _ a: LlamaParameters<some TensorValue>, _ b: LlamaParameters<some TensorValue>,
        _ groups: ParallelGroups<some Communicator>
    ) throws -> Double {
        var change = 0.0
        let networks = [constantNetwork(a).outputs, constantNetwork(b).outputs]
        // Every replica would find the same: the first one does it, and the sum over replicas is its number.
        let windows = groups.replica == 0 ? [tokens] : []
        try stream(windows, through: networks, hidden: configuration.hiddenSize, groups) { _, outputs in
            change = relativeLogitChange(
                matmul(outputs[0], .asStored, a.logitWeight.tensor, .transposed),
                matmul(outputs[1], .asStored, b.logitWeight.tensor, .transposed))
        }
        return try groups.sumFromLastStage([change])[0]
    }
}

/// The largest change of a logit between two networks, relative to the largest logit of the first: max|a − b| / max|a|.
package func relativeLogitChange(_ a: Tensor, _ b: Tensor) -> Double {
    Double((a - b).maxMagnitude) / Double(max(a.maxMagnitude, .leastNormalMagnitude))
}
