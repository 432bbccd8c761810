#if canImport(Glibc)
    internal import Glibc
#endif
package import Autograd
package import Collectives
package import Models
internal import TensorCore

/// How well a network predicts windows of text, and how far its predictions are from the full-precision network's.
package struct LanguageModelScore: Sendable, Equatable {
    /// exp of the mean negative log likelihood of each window's tokens but the first.
    package var perplexity: Double
    /// Mean over all positions of Σ p·log(p/q), p from full precision, in nats; nil where there was nothing to compare with.
    package var klDivergence: Double?

    package init(perplexity: Double, klDivergence: Double? = nil) {
        self.perplexity = perplexity
        self.klDivergence = klDivergence
    }
}

/// A network ready to run: its graph, its parameters, and what happens at its sites.
package struct Network<Sites: SiteTransform> {
    package var model: Llama
    package var parameters: LlamaParameters<Variable>
    package var sites: Sites

    package init(model: Llama, parameters: LlamaParameters<Variable>, sites: Sites) {
        self.model = model
        self.parameters = parameters
        self.sites = sites
    }

    /// The last norm's output for whole sequences of equal length.
    package func hiddenStates(_ sequences: [[Int32]], recompute: Bool = false, on tape: Tape) -> Variable {
        model.hiddenStates(
            sequences.flatMap(\.self), parameters,
            context: CausalBatch(sequences: sequences.count, length: sequences.first?.count ?? 0),
            sites: sites, recompute: recompute, on: tape)
    }
}

/// Perplexity over consecutive windows as GPTQ (arXiv 2210.17323) and SpinQuant compute it, and divergence from `reference`.
///
/// Windows are dealt to the ranks in turn and the sums reduced, so every rank returns the same numbers.
///
/// - Throws: ``EvaluationError/noWindows``; ``EvaluationError/notFinite(_:)`` when the network's output is NaN.
package func evaluate(
    _ network: Network<some SiteTransform>, against reference: Network<some SiteTransform>?, windows: [[Int32]],
    _ communicator: some Communicator
) throws -> LanguageModelScore {
    guard !windows.isEmpty else { throw EvaluationError.noWindows }
    var likelihood = 0.0
    var divergence = 0.0
    for window in windows.indices where window % communicator.size == communicator.rank {
        let tokens = windows[window]
        let x = network.hiddenStates([tokens], on: Tape(recording: false))
        let head = network.parameters.logitWeight
        let targets = tokens.dropFirst() + [-1]
        likelihood += Tape(recording: false).languageModelLoss(x, head: head, .tokens(Array(targets)), scale: 1).sum
        if let reference {
            let teacher = LogitTarget.teacher(
                hidden: reference.hiddenStates([tokens], on: Tape(recording: false)).value,
                head: reference.parameters.logitWeight.value)
            divergence += Tape(recording: false).languageModelLoss(x, head: head, teacher, scale: 1).sum
        }
    }
    var sums = [likelihood, divergence]
    try communicator.allReduce(&sums, .sum)
    let length = windows[0].count
    let perplexity = exp(sums[0] / Double(windows.count * (length - 1)))
    guard perplexity.isFinite else { throw EvaluationError.notFinite("perplexity") }
    return LanguageModelScore(
        perplexity: perplexity, klDivergence: reference.map { _ in sums[1] / Double(windows.count * length) })
}
