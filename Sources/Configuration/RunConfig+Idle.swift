internal import Calibration
internal import Quantization

/// Settings that a command line gives to no effect: what was meant to be made with them is made without.
///
/// Files of settings serve several jobs, so that what they hold for others is no mistake.
extension RunConfig {
    /// A line for each key of `--set` that the job does not heed, in the order of the keys.
    func idleKeys(_ given: GivenSettings, _ job: PlannedJob) -> [String] {
        // A file that the job does not read is refused.
        let own = descriptions.filter { key in
            // Who gives the size of a group means groups, even of the usual size.
            key.path != "ternary.path" && (key.value != key.defaultValue || key.path == "quantization.weights.group_size")
                && given[key.path]?.place.hasPrefix(SettingsRequest.assignment) ?? false
        }
        return own.compactMap { key in
            let rule = idleRules(job).first { key.path.hasPrefix($0.keys) && !$0.isHeeded }
            return rule.map { "\(SettingsRequest.assignment)\(key.path): has no effect here; it is for \($0.purpose)" }
        }
    }

    private struct Rule {
        /// What the keys begin with.
        let keys: String
        let purpose: String
        let isHeeded: Bool
    }

    private static let ofLearning = ["objective", "starts", "pretrain_steps", "train_weight_bits"]
    private static let ofDecomposition = ["tolerance", "threshold", "rounds", "refinement", "balance", "economy"]
    private static let ofEval = ["tasks", "max_length", "limit", "hadamard", "product", "trained"]

    private func idleRules(_ job: PlannedJob) -> [Rule] {
        let (weights, isAuto) = (quantization.weights, job == .quantize && quantize.recipe == .auto)
        let (activations, cache) = (quantization.activations, quantization.kv)
        let roundsInputs = activations.bits < 16
        let makesFactors = job == .ptq || (job == .qat && qat.method == .ternary)
        let trainsIntegers = job == .qat && qat.method == .integer
        let rounds = [.rotate, .quantize, .eval].contains(job) || trainsIntegers
        let learnsForRounding = isAuto || (quantize.transform == .learned && rotation.path == nil)
        let learned = Self.ofLearning.map {
            Rule(keys: "rotation.\($0)", purpose: "rotate, which learns rotations with it", isHeeded: job == .rotate)
        }
        let scoring = Self.ofEval.map { Rule(keys: "eval.\($0)", purpose: "eval", isHeeded: job == .eval) }
        let decomposing = Self.ofDecomposition.map {
            Rule(
                keys: "ternary.\($0)", purpose: "factors by a tolerance, without ternary.bits",
                isHeeded: job != .ptq || ternary.bits == nil)
        }
        return learned + scoring + decomposing + [
            // Before those of its parts, which are for other settings of jobs that heed any.
            Rule(keys: "quantization.", purpose: "rotate, quantize, eval and qat.method=integer", isHeeded: rounds),
            Rule(
                keys: "training.precision", purpose: "rotate, train and qat", isHeeded: [.rotate, .train, .qat].contains(job)),
            Rule(
                keys: "quantization.weights.gptq.",
                purpose: "quantize with quantization.weights.method=gptq or quantize.recipe=auto",
                isHeeded: job == .quantize && (weights.method.name == GPTQ.name || isAuto)),
            Rule(
                keys: "quantization.weights.group_size", purpose: "quantization.weights.granularity=group",
                isHeeded: weights.granularity.isGroup),
            Rule(
                keys: "quantization.clip_ratios", purpose: "inputs, keys or values of fewer than 16 bits",
                isHeeded: roundsInputs || cache.keys < 16 || cache.values < 16),
            Rule(
                keys: "quantization.activations.head_ranges",
                purpose: "inputs of fewer than 16 bits (quantization.activations.bits)", isHeeded: roundsInputs),
            Rule(
                keys: "quantization.activations.symmetric",
                purpose: "inputs of fewer than 16 bits (quantization.activations.bits)", isHeeded: roundsInputs),
            Rule(
                keys: "quantization.activations.symmetric_range", purpose: "quantization.activations.symmetric=true",
                isHeeded: activations.symmetric),
            Rule(
                keys: "quantization.kv.symmetric", purpose: "keys or values of fewer than 16 bits (quantization.kv.bits)",
                isHeeded: min(cache.keys, cache.values) < 16),
            Rule(
                keys: "calibration.",
                purpose:
                    "quantize by what reads a text (GPTQ, smoothing, balancing), ptq with ternary.weighting=inputs or both, "
                    + "and rotation.balance=true",
                isHeeded: calibrates(job)),
            Rule(
                keys: "model.dense",
                purpose: "jobs that write packed models: of quantization.weights.bits below 16, or factors",
                isHeeded: makesFactors || (rounds && (weights.bits < 16 || quantization.overrides != .none))),
            Rule(keys: "eval.max_length", purpose: "eval.tasks", isHeeded: !eval.tasks.entries.isEmpty),
            Rule(keys: "eval.limit", purpose: "eval.tasks", isHeeded: !eval.tasks.entries.isEmpty),
            Rule(
                keys: "eval.compare", purpose: "ternary layers, in eval, ptq and qat",
                isHeeded: makesFactors || job == .eval),
            Rule(keys: "quantize.", purpose: "quantize", isHeeded: job == .quantize),
            Rule(keys: "quantize.held_out", purpose: "quantize.recipe=auto", isHeeded: isAuto),
            Rule(
                keys: "quantize.learning_steps", purpose: "quantize.transform=learned and quantize.recipe=auto",
                isHeeded: learnsForRounding),
            Rule(
                keys: "ternary.", purpose: "ptq and qat.method=ternary",
                isHeeded: makesFactors || (job == .eval && ternary.path != nil)),
            Rule(keys: "qat.", purpose: "qat", isHeeded: job == .qat),
            Rule(keys: "optimizer.", purpose: "train and qat", isHeeded: [.train, .qat].contains(job)),
            Rule(keys: "generate.", purpose: "generate", isHeeded: false),
            Rule(
                keys: "rotation.gradient", purpose: "rotate and qat.method=integer",
                isHeeded: job == .rotate || trainsIntegers),
            Rule(keys: "rotation.", purpose: "rotate, quantize, eval and qat.method=integer", isHeeded: rounds),
        ]
    }
}

extension QuantizerGranularity {
    var isGroup: Bool { if case .group = self { true } else { false } }
}
