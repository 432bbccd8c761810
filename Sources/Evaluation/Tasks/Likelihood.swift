internal import Autograd
internal import CKernels
package import Collectives
internal import LinearAlgebra
package import Models
package import Parallelism
internal import TensorCore

/// How likely a network finds a request's targets.
package struct Likelihood: Sendable, Equatable {
    /// Σ log p over the targets, in nats.
    package let logarithm: Double
    /// Whether each target is the likeliest token at its place.
    package let isGreedy: Bool
}

/// The likelihoods of all requests, on every rank. Collective.
///
/// Requests are dealt to the replicas in turn and go through the network one by one, so that any number of ranks gives the same
/// numbers.
///
/// - Parameter progress: called with the number of requests done.
/// - Throws: ``EvaluationError/notFinite(_:)``.
package func likelihoods(
    _ requests: [LikelihoodRequest], of network: Network<some HookTransform>, _ groups: ParallelGroups<some Communicator>,
    progress: (Int) -> Void = { _ in }
) throws -> [Likelihood] {
    // Sums over ranks, of which one adds something other than 0.
    var found = [Double](repeating: 0, count: 2 * requests.count)
    let batch = 32 * groups.dims.data
    for first in stride(from: 0, to: requests.count, by: batch) {
        let own = (first..<min(first + batch, requests.count)).filter { $0 % groups.dims.data == groups.replica }
        try stream(
            own.map { requests[$0].tokens }, through: [network.outputs], hidden: network.model.architecture.hiddenSize, groups
        ) { place, outputs in
            let request = requests[own[place]]
            let rows = outputs[0].rows - request.targets.count..<outputs[0].rows
            let likelihood = targetLikelihood(outputs[0].rows(rows), network.parameters.logitWeight.value, request.targets)
            found[2 * own[place]] = likelihood.logarithm
            found[2 * own[place] + 1] = likelihood.isGreedy ? 1 : 0
        }
        progress(min(first + batch, requests.count))
    }
    let all = try groups.sumFromLastStage(found)
    guard all.allSatisfy(\.isFinite) else { throw EvaluationError.notFinite("a likelihood") }
    return requests.indices.map { Likelihood(logarithm: all[2 * $0], isGreedy: all[2 * $0 + 1] == 1) }
}

/// - Parameters:
///   - hidden: `[targets.count, h]`.
///   - head: `[vocabulary, h]`.
private func targetLikelihood(_ hidden: Tensor, _ head: Tensor, _ targets: [Int32]) -> Likelihood {
    let (h, vocabulary) = (head.columns, head.rows)
    let chunk = min(targets.count, LogitBlock.rows(vocabulary: vocabulary))
    var logits = Tensor(uninitialized: [chunk, vocabulary])
    var (sum, isGreedy) = (0.0, true)
    for first in stride(from: 0, to: targets.count, by: chunk) {
        let count = min(chunk, targets.count - first)
        let target = logits.mutablePointer
        gemm(
            .asStored, .transposed, m: count, n: vocabulary, k: h, hidden.pointer + first * h, lda: h, head.pointer, ldb: h,
            target,
            ldc: vocabulary)
        for row in 0..<count {
            let (values, wanted) = (target + row * vocabulary, Int(targets[first + row]))
            // The first of the largest counts as the likeliest.
            for token in 0..<vocabulary where isGreedy && token != wanted {
                isGreedy = token < wanted ? values[token] < values[wanted] : values[token] <= values[wanted]
            }
            sum -= Double(ck_cross_entropy(values, wanted, 0, vocabulary))
        }
    }
    return Likelihood(logarithm: sum, isGreedy: isGreedy)
}
