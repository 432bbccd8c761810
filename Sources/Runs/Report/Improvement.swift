internal import Configuration
package import Evaluation
package import Support

/// Whether training improved the score on the evaluation windows, judged by the divergence from full precision where both
/// scores have one, and otherwise by perplexity.
package struct Improvement: Sendable {
    /// The direction in which the score changed.
    package enum Change: String, Sendable { case better, unchanged, worse }

    private let before: LanguageModelScore
    private let after: LanguageModelScore
    /// Additional advice if the model has not become better; nil for none.
    private let remedy: String?

    /// The relative change of a score that is only noise: rounding of sums, amplified by quantizers.
    private static let noise = 1e-4
    /// The same for a divergence near zero, in nats.
    private static let leastDivergence = 1e-7

    package init(before: LanguageModelScore, after: LanguageModelScore, remedy: String? = nil) {
        self.before = before
        self.after = after
        self.remedy = remedy
    }

    /// Judged by perplexity alone.
    package init(before: Double, after: Double) {
        self.init(before: LanguageModelScore(perplexity: before), after: LanguageModelScore(perplexity: after))
    }

    package var change: Change {
        let (from, to, least) =
            divergences.map { ($0.before, $0.after, Self.leastDivergence) } ?? (before.perplexity, after.perplexity, 0)
        guard abs(to - from) > max(least, Self.noise * abs(from)) else { return .unchanged }
        return to < from ? .better : .worse
    }

    private var divergences: (before: Double, after: Double)? {
        guard let first = before.klDivergence, let last = after.klDivergence else { return nil }
        return (first, last)
    }

    /// Adds `improved` and `change` to a job's part of `summary.json`.
    package func add(to results: inout JSONObject) {
        results["improved"] = .bool(change == .better)
        results["change"] = .string(change.rawValue)
    }

    /// Both numbers. If they decide that something has changed, with enough digits to tell them apart.
    private func arrow(_ from: Double, _ to: Double, decimals: Int, decides: Bool) -> String {
        var decimals = decimals
        func text(_ value: Double) -> String { value.formatted(decimals: decimals) }
        while decides, change != .unchanged, decimals < 12, text(from) == text(to) { decimals += 1 }
        return "\(text(from)) → \(text(to))"
    }

    /// The line for the user.
    package var line: String {
        let perplexity = "perplexity \(arrow(before.perplexity, after.perplexity, decimals: 2, decides: divergences == nil))"
        let scores =
            divergences.map { "KL \(arrow($0.before, $0.after, decimals: 4, decides: true)), \(perplexity)" } ?? perplexity
        let advice = remedy.map { "; \($0)" } ?? ""
        switch change {
        case .better: return "training has made the model better: \(scores)\(advice)"
        case .unchanged: return "training has left the model as it was: \(scores)\(advice)"
        case .worse:
            return "warning: training has made the model worse: \(scores)"
                + (remedy == nil
                    ? "; lower training.learning_rate, or give it more text" : "\(advice), or lower training.learning_rate")
        }
    }
}

extension Improvement? {
    /// Adds the same keys where nothing was trained.
    package func add(to results: inout JSONObject) {
        guard let self else {
            results["improved"] = false
            results["change"] = .string(Improvement.Change.unchanged.rawValue)
            return
        }
        self.add(to: &results)
    }

    package var line: String { self?.line ?? "nothing was learned: rotation.r1 and rotation.r2 are fixed" }
}

extension RunConfig {
    /// Whether `qat` improved the score: judged by the divergence where it learns from the full-precision network. Learning
    /// from a text moves away from that network on purpose.
    package func improvement(before: LanguageModelScore, after: LanguageModelScore) -> Improvement {
        distills ? Improvement(before: before, after: after) : Improvement(before: before.perplexity, after: after.perplexity)
    }

    /// Advice where rotations are learned with finer weights than they are used with; nil otherwise.
    package var weightRemedy: String? {
        guard quantization.weights.bits < rotation.trainWeightBits, rotation.canRoundWeights else { return nil }
        return "weights were learned at \(rotation.trainWeightBits) bits and are used at \(quantization.weights.bits): "
            + "--set rotation.train_weight_bits=\(quantization.weights.bits)"
    }
}
