internal import Autograd
package import Collectives
internal import Glibc
package import Models
package import Parallelism
internal import Support
package import TensorCore

/// How well a network predicts windows of text, and how far its predictions are from the full-precision network's.
package struct LanguageModelScore: Sendable, Equatable {
    /// exp of the mean negative log likelihood of each window's tokens but the first.
    package var perplexity: Double
    /// Mean over all positions of Σ p·log(p/q), p from full precision, in nats; nil where there was nothing to compare with.
    package var klDivergence: Double?
    /// Share of all positions at which the likeliest token is that of full precision; nil where there was nothing to compare
    /// with.
    package var agreement: Double?
    /// Whether the loss of every window is that of the uniform distribution, ln(vocabulary): all logits are equal.
    package var isUniform: Bool

    package init(perplexity: Double, klDivergence: Double? = nil, agreement: Double? = nil, isUniform: Bool = false) {
        self.perplexity = perplexity
        self.klDivergence = klDivergence
        self.agreement = agreement
        self.isUniform = isUniform
    }

    /// Of the network that others are compared with: it does not differ from itself.
    package static func reference(perplexity: Double) -> LanguageModelScore {
        LanguageModelScore(perplexity: perplexity, klDivergence: 0, agreement: 1)
    }

    /// - Throws: ``EvaluationError/uniform(vocabulary:)``.
    package func checkAlive(vocabulary: Int) throws(EvaluationError) {
        if isUniform { throw .uniform(vocabulary: vocabulary) }
    }
}

/// What several networks make of windows, one window after the other streaming through the stages. Now and then all ranks look
/// whether one was asked to stop. Collective.
///
/// - Parameters:
///   - windows: those of this rank's replica, of equal lengths.
///   - networks: ``Network/outputs(_:from:)`` of each network's stage; the networks share the model's shape.
///   - body: called on the last stage with each window's outputs, a tensor per network.
package func stream<World: Communicator>(
    _ windows: [[Int32]], through networks: [(_ sequences: [[Int32]], _ input: Tensor?) -> Tensor], hidden: Int,
    _ groups: ParallelGroups<World>, _ body: (_ window: Int, _ outputs: [Tensor]) throws -> Void
) throws {
    // Between two looks a pipeline fills and empties: more windows then.
    let stride = groups.dims.pipeline == 1 ? 1 : 8 * groups.dims.pipeline
    let most = groups.world.size == 1 ? windows.count : Int(try groups.world.allReduce(Int64(windows.count), .max))
    let executor = PipelineExecutor(groups.pipeline)
    for first in Swift.stride(from: 0, to: most, by: stride) {
        try StopRequest.check(on: groups.world)
        let part = min(first, windows.count)..<min(first + stride, windows.count)
        try executor.run(
            PipelineSchedule.forwards(part.count), shape: { [windows[part.lowerBound + $0].count, hidden] },
            streams: networks.count,
            forward: { place, inputs in
                let window = part.lowerBound + place
                let outputs = networks.enumerated().map { index, network in
                    network([windows[window]], inputs.isEmpty ? nil : inputs[index])
                }
                guard groups.isLast else { return outputs }
                try body(window, outputs)
                return []
            })
    }
}

/// Perplexity over consecutive windows as GPTQ (arXiv 2210.17323) and SpinQuant compute it, and divergence from `reference`.
///
/// Windows are dealt to the replicas in turn, stream through their stages, and the sums are reduced: every rank returns the
/// same numbers. Collective.
///
/// - Throws: ``EvaluationError/noWindows``; ``EvaluationError/notFinite(_:)`` when the network's output is NaN.
package func evaluate(
    _ network: Network<some HookTransform>, against reference: Network<some HookTransform>?, windows: [[Int32]],
    _ groups: ParallelGroups<some Communicator>
) throws -> LanguageModelScore {
    try Trace.span(.evaluate) { try score(network, against: reference, windows: windows, groups) }
}

private func score(
    _ network: Network<some HookTransform>, against reference: Network<some HookTransform>?, windows: [[Int32]],
    _ groups: ParallelGroups<some Communicator>
) throws -> LanguageModelScore {
    guard !windows.isEmpty else { throw EvaluationError.noWindows }
    var likelihood = 0.0
    var divergence = 0.0
    /// Positions.
    var agreed = 0.0
    /// Windows whose loss is not the uniform distribution's.
    var live = 0.0
    let uniform = log(Double(network.model.architecture.vocabularySize))
    let own = windows.indices.filter { $0 % groups.dims.data == groups.replica }.map { windows[$0] }
    let stages = [network.outputs] + (reference.map { [$0.outputs] } ?? [])
    try stream(own, through: stages, hidden: network.model.architecture.hiddenSize, groups) { window, outputs in
        let head = network.parameters.logitWeight
        let scores = PredictionScores(
            of: outputs[0], head: head, own[window].dropFirst() + [-1],
            against: reference.map { (outputs[1], $0.parameters.logitWeight) })
        likelihood += scores.negativeLogLikelihood
        let loss = scores.negativeLogLikelihood / Double(own[window].count - 1)
        let isUniform = abs(loss - uniform) <= uniformTolerance * max(1, uniform)
        if !isUniform { live += 1 }
        divergence += scores.divergence
        agreed += Double(scores.agreements)
    }
    let sums = try groups.sumFromLastStage([likelihood, divergence, live, agreed])
    let length = windows[0].count
    let perplexity = exp(sums[0] / Double(windows.count * (length - 1)))
    guard perplexity.isFinite else { throw EvaluationError.notFinite("perplexity") }
    return LanguageModelScore(
        perplexity: perplexity, klDivergence: reference.map { _ in sums[1] / Double(windows.count * length) },
        agreement: reference.map { _ in sums[3] / Double(windows.count * length) }, isUniform: sums[2] == 0)
}

/// How near to ln(vocabulary), of a size of at least 1, the loss of equal logits comes out.
private let uniformTolerance = 1e-6
