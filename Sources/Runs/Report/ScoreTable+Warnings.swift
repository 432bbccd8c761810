package import Configuration
internal import Evaluation
internal import Quantization
internal import Support
internal import TernarySVD

extension ScoreTable {
    /// The mean KL divergence from full precision, in nats per token, above which a result is hardly useful: the probability of
    /// what full precision predicts is then lower by a factor of e on average. Useful results are below 0.5 (docs/rotation.md);
    /// rounding with too few steps gives 3 and more.
    private static let farthest = 1.0

    /// A warning that the last row, which is written, is far from full precision; nil where it is not.
    package func distanceWarning(_ config: RunConfig, _ job: ModelJob) -> String? {
        guard let last = rows.last, let divergence = last.score.klDivergence, divergence > Self.farthest else { return nil }
        let isTernary = config.makesFactors(job)
        let finer = config.ternary.bits == nil ? "a smaller ternary.tolerance" : "more ternary.bits"
        let bits = isTernary ? finer : "more bits"
        let steps = job == .qat ? ["more steps (training.steps)"] : []
        let advice = (config.coarsest(job) + [bits] + steps).joined(separator: ", or ")
        return "warning: '\(last.label)' is far from full precision (KL \(divergence.formatted(decimals: 2)) nats a token, "
            + "perplexity \(last.score.perplexity.formatted(decimals: 2))); what usually helps: \(advice)"
    }

    /// A warning that the last row, of a rotated network, is farther from full precision than the network rounded to nearest
    /// without rotations, on the same windows and with the same bits; nil where it is not, or where either row is missing.
    ///
    /// - Parameter steps: the setting of how long rotations are learned; nil where they are not learned.
    package func rotationWarning(steps: String?) -> String? {
        guard let last = rows.last, let divergence = last.score.klDivergence,
            let plain = rows.first(where: { $0.key == RoundToNearest.name && $0.bits == last.bits })?.score.klDivergence,
            // Differences that the table does not show are noise of sums.
            divergence > plain, divergence.formatted(decimals: 4) != plain.formatted(decimals: 4)
        else { return nil }
        return "warning: '\(last.label)' is rotated, and farther from full precision than rounded to nearest without "
            + "(KL \(divergence.formatted(decimals: 4)) against \(plain.formatted(decimals: 4))); "
            + "\(steps.map { "give it more steps (\($0)), or " } ?? "")leave the rotations out"
    }
}

extension RunConfig {
    fileprivate func makesFactors(_ job: ModelJob) -> Bool { job == .ptq || (job == .qat && qat.method == .ternary) }

    /// Advice on the coarsest parts of the compression.
    fileprivate func coarsest(_ job: ModelJob) -> [String] {
        if makesFactors(job) {
            guard ternary.weighting != .none else { return ["factors chosen on data (ternary.weighting=both)"] }
            // The descent starts from the result of these, which at coarse tolerances it can make worse.
            let isPlain = ternary.bits == nil && (ternary.mode == .reference || !ternary.balance)
            return isPlain ? ["balanced factors of the default mode (ternary.mode=default, ternary.balance=true)"] : []
        }
        var result: [String] = []
        let weights = quantization.weights
        if weights.bits < 16, weights.granularity == .tensor {
            result.append("a range for each row (quantization.weights.granularity=channel)")
        }
        if weights.bits < 4, weights.granularity == .channel {
            result.append("ranges for groups (quantization.weights.granularity=group)")
        }
        if job == .quantize, quantize.recipe == .given {
            result.append("the best of several recipes (quantize.recipe=auto)")
        }
        if quantization.activations.bits < 8 { result.append("inputs of 8 bits (quantization.activations.bits=8)") }
        return result
    }
}
