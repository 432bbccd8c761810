internal import Autograd
package import Collectives
internal import LinearAlgebra
package import Models
package import Parallelism
package import TensorCore

extension Model {
    /// How far the logits of one sequence are apart between two sets of parameters, each of this rank's stage; the same on all
    /// ranks. Collective.
    package func logitChange(
        _ tokens: [Int32], _ a: Parameters<some TensorValue>, _ b: Parameters<some TensorValue>,
        _ groups: ParallelGroups<some Communicator>
    ) throws -> Double {
        var change = 0.0
        let networks = [constantNetwork(a).outputs, constantNetwork(b).outputs]
        // Every replica would find the same: the first one does it, and the sum over replicas is its number.
        let windows = groups.replica == 0 ? [tokens] : []
        try stream(windows, through: networks, hidden: architecture.hiddenSize, groups) { _, outputs in
            change = relativeLogitChange(outputs[0], a.logitWeight.tensor, outputs[1], b.logitWeight.tensor)
        }
        return try groups.sumFromLastStage([change])[0]
    }
}

/// The same for logits x·headᵀ, of which only a few rows exist at a time.
private func relativeLogitChange(_ x: Tensor, _ headOfX: Tensor, _ y: Tensor, _ headOfY: Tensor) -> Double {
    let chunk = 64
    var (changes, magnitudes): ([Float], [Float]) = ([], [])
    for first in stride(from: 0, to: x.rows, by: chunk) {
        let rows = first..<min(first + chunk, x.rows)
        let logits = matmul(x.rows(rows), .asStored, headOfX, .transposed)
        changes.append((logits - matmul(y.rows(rows), .asStored, headOfY, .transposed)).maxMagnitude)
        magnitudes.append(logits.maxMagnitude)
    }
    // As tensors, since their maximum is NaN where one is.
    return relativeLogitChange(
        Tensor(changes, [changes.count]).maxMagnitude, of: Tensor(magnitudes, [magnitudes.count]).maxMagnitude)
}

/// The largest change of a logit between two networks, relative to the largest logit of the first: max|a − b| / max|a|.
package func relativeLogitChange(_ a: Tensor, _ b: Tensor) -> Double {
    relativeLogitChange((a - b).maxMagnitude, of: a.maxMagnitude)
}

private func relativeLogitChange(_ change: Float, of largest: Float) -> Double {
    Double(change) / Double(max(largest, .leastNormalMagnitude))
}
