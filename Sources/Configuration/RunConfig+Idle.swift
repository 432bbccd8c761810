internal import Calibration
internal import Quantization
internal import Rotation

/// Settings that a command line, or a sweep's entry, gives to no effect: what was meant to be made with them is made without.
///
/// Files of settings serve several jobs, so that what they hold for others is no mistake.
extension RunConfig {
    /// The commands that are no job, and what the keys begin with that they use.
    static let usedKeys = [
        "generate": [
            "model.path", "generate.", "training.seed", "parallel.data", "parallel.pipeline", "parallel.threads",
            "eval.product", "watchdog.", "events.", "out",
        ],
        "profile": ["model.path", "ternary.threshold"],
        "verify": [
            "data.eval.path", "data.field", "data.bad_lines", "data.sequence_length", "training.seed", "verify.tolerance",
        ],
    ]

    /// A line for each key given for a job or command of this name alone that does not use it, in the order of the keys. A plan
    /// uses what its job does.
    func idleKeys(_ given: GivenSettings, _ name: String) -> [String] {
        // A file that the job does not read is refused.
        let own = descriptions.filter { key in
            // Who gives the size of a group means groups, even of the usual size.
            key.path != "ternary.path" && (key.value != key.defaultValue || key.path == "quantization.weights.group_size")
        }
        return own.compactMap { key in
            guard let given = given[key.path], given.isForJob, let reason = reasonUnused(key.path, name) else { return nil }
            let assignment = SettingsRequest.assignment
            let place = given.place.hasPrefix(assignment) ? assignment : "\(given.place): "
            return "\(place)\(key.path): has no effect here; \(reason)"
        }
    }

    /// What a key is for instead; nil where the job or command of this name uses it.
    private func reasonUnused(_ key: String, _ name: String) -> String? {
        if let used = Self.usedKeys[name] {
            return used.contains { key.hasPrefix($0) } ? nil : "\(name) reads \(used.joined(separator: ", "))"
        }
        let isPlan = name == PlanSettings.command
        guard let job = isPlan ? plan.job : ModelJob(rawValue: name), !(isPlan && key.hasPrefix("plan.")) else { return nil }
        return idleRules(job).first { key.hasPrefix($0.keys) && !$0.isUsed }.map { "it is for \($0.purpose)" }
    }

    private struct Rule {
        /// What the keys begin with.
        let keys: String
        let purpose: String
        let isUsed: Bool
    }

    private static let ofLearning = ["objective", "starts", "pretrain_steps", "train_weight_bits"]
    private static let ofDecomposition = ["tolerance", "threshold", "rounds", "refinement", "balance", "economy"]
    private static let ofEval = ["tasks", "max_length", "limit", "hadamard", "product", "trained"]

    private func idleRules(_ job: ModelJob) -> [Rule] {
        let isAuto = job == .quantize && quantize.recipe == .auto
        let makesFactors = job == .ptq || trainsFactors(job)
        let rounds = rounds(job)
        let scoring = Self.ofEval.map { Rule(keys: "eval.\($0)", purpose: "eval", isUsed: job == .eval) }
        let rounding = quantizationRules(job, rounds: rounds, isAuto: isAuto)
        let training = trainingRules(job, isAuto: isAuto)
        let others = rotationRules(job, rounds: rounds, isAuto: isAuto) + rounding + training + ternaryRules(job)
        return scoring + others + [
            Rule(
                keys: "calibration.",
                purpose:
                    "quantize by what reads a text (GPTQ, smoothing, balancing), ptq with ternary.weighting=inputs or both, "
                    + "and rotation.balance=true",
                isUsed: calibrates(job)),
            Rule(
                keys: "calibration.mode", purpose: "GPTQ and ternary.weighting",
                isUsed: job == .ptq || isAuto || (job == .quantize && weightQuantization?.inputs != nil)),
            Rule(
                keys: "model.dense",
                purpose: "jobs that write packed models: of quantization.weights.bits below 16, or factors",
                isUsed: makesFactors
                    || (rounds && (quantization.weights.bits < 16 || quantization.overrides != .none))),
            Rule(keys: "eval.max_length", purpose: "eval.tasks", isUsed: !eval.tasks.entries.isEmpty),
            Rule(keys: "eval.limit", purpose: "eval.tasks", isUsed: !eval.tasks.entries.isEmpty),
            Rule(
                keys: "eval.compare", purpose: "ternary layers, in eval, ptq and qat",
                isUsed: makesFactors || job == .eval),
            Rule(keys: "quantize.", purpose: "quantize", isUsed: job == .quantize),
            Rule(keys: "quantize.held_out", purpose: "quantize.recipe=auto", isUsed: isAuto),
            Rule(
                keys: "quantize.learning_steps", purpose: "quantize.transform=learned and quantize.recipe=auto",
                isUsed: isAuto || learnsForRounding),
            Rule(keys: "qat.", purpose: "qat", isUsed: job == .qat),
            Rule(keys: "optimizer.", purpose: "train and qat", isUsed: [.train, .qat].contains(job)),
            Rule(keys: "optimizer.momentum", purpose: "training.optimizer=sgd", isUsed: self.training.optimizer == .sgd),
            Rule(keys: "optimizer.beta", purpose: "training.optimizer=adamw", isUsed: self.training.optimizer == .adamw),
            Rule(keys: "optimizer.epsilon", purpose: "training.optimizer=adamw", isUsed: self.training.optimizer == .adamw),
            Rule(keys: "bus.", purpose: "qat.method=ternary", isUsed: trainsFactors(job)),
            Rule(keys: "generate.", purpose: "generate", isUsed: false),
            Rule(keys: "verify.", purpose: "verify and rotate", isUsed: job == .rotate),
            Rule(keys: "plan.", purpose: "plan", isUsed: false),
        ]
    }

    private func trainsFactors(_ job: ModelJob) -> Bool { job == .qat && qat.method == .ternary }

    /// Those of `ternary.*`.
    private func ternaryRules(_ job: ModelJob) -> [Rule] {
        func rules(_ names: [String], _ purpose: String, _ isUsed: Bool) -> [Rule] {
            names.map { Rule(keys: "ternary.\($0)", purpose: purpose, isUsed: isUsed) }
        }
        return rules(
            Self.ofDecomposition, "factors by a tolerance, without ternary.bits", job != .ptq || ternary.bits == nil)
            + rules(["prune_rate", "adapt_every"], "qat.method=ternary", trainsFactors(job))
            + rules(
                [""], "ptq and qat.method=ternary",
                job == .ptq || trainsFactors(job) || (job == .eval && ternary.path != nil))
    }

    private static let networkSteps = "train, qat, and rotate with rotation.objective=kl or ce"

    /// Those of `training.*`, `checkpoint.*` and the training text.
    private func trainingRules(_ job: ModelJob, isAuto: Bool) -> [Rule] {
        let trains = [.rotate, .train, .qat].contains(job)
        let learns = trains || (job == .quantize && (isAuto || learnsForRounding))
        func rules(_ names: [String], _ purpose: String, _ isUsed: Bool) -> [Rule] {
            names.map { Rule(keys: $0, purpose: purpose, isUsed: isUsed) }
        }
        return rules(
            ["training.steps", "training.learning_rate", "training.warmup_steps", "training.precision", "checkpoint."],
            "rotate, train and qat", trains)
            + rules(
                ["training.schedule"],
                "rotate, train, qat, and quantize with quantize.transform=learned or quantize.recipe=auto", learns)
            // Other jobs take one window after the other, whatever is set.
            + rules(
                ["training.recompute", "parallel.microbatches", "parallel.schedule"], Self.networkSteps,
                trains && (job != .rotate || rotation.objective.runsNetwork))
            // Where rotations are applied, which rounds differently, follows from the tokens of a step.
            + rules(
                ["training.batch_size"],
                "rotate, train, qat, quantize with quantize.transform=learned or quantize.recipe=auto, and eval with rotations",
                learns || job == .eval && (eval.hadamard || rotation.path != nil))
            + rules(["training.optimizer"], "train and qat", [.train, .qat].contains(job))
            + rules(
                ["data.train.path"],
                "jobs that train or learn rotations by a text, and those that calibrate (quantize with GPTQ, smoothing or "
                    + "balancing, ptq with ternary.weighting, rotation.balance=true)", readsText(job))
    }

    /// Those of `quantization.*`.
    ///
    /// - Parameter rounds: whether the job uses any.
    private func quantizationRules(_ job: ModelJob, rounds: Bool, isAuto: Bool) -> [Rule] {
        let (weights, activations, cache) = (quantization.weights, quantization.activations, quantization.kv)
        let (roundsInputs, roundsCache) = (activations.bits < 16, min(cache.keys, cache.values) < 16)
        // Those that rotations are learned with stand in their file, and are an evaluation's of it.
        let roundsWeights = job == .rotate || weights.bits < 16 || quantization.overrides != .none
        let roundsTables = min(quantization.embeddingBits, quantization.headBits) < 16
        func rules(_ names: [String], _ purpose: String, _ isUsed: Bool) -> [Rule] {
            names.map { Rule(keys: "quantization.\($0)", purpose: purpose, isUsed: isUsed) }
        }
        // The first is before those of its parts, which are for other settings of jobs that use any.
        return rules([""], "rotate, quantize, eval and qat.method=integer", rounds)
            + rules(
                ["weights.gptq."], "quantize with quantization.weights.method=gptq or quantize.recipe=auto",
                job == .quantize && (weights.method.name == GPTQ.name || isAuto))
            + rules(
                ["weights.granularity", "weights.symmetric"], "weights of fewer than 16 bits (quantization.weights.bits)",
                roundsWeights)
            + rules(
                ["weights.clip"], "weights of fewer than 16 bits (quantization.weights.bits)", roundsWeights || roundsTables)
            + rules(["weights.group_size"], "quantization.weights.granularity=group", weights.granularity.isGroup)
            + rules(
                ["overrides", "embedding_bits", "head_bits"],
                "weights that are not stored rounded (quantization.weights.method)", weights.method != .stored)
            + rules(["clip_ratios"], "inputs, keys or values of fewer than 16 bits", roundsInputs || roundsCache)
            + rules(
                ["activations.head_ranges", "activations.symmetric"],
                "inputs of fewer than 16 bits (quantization.activations.bits)", roundsInputs)
            + rules(["activations.symmetric_range"], "quantization.activations.symmetric=true", activations.symmetric)
            + rules(["kv.symmetric"], "keys or values of fewer than 16 bits (quantization.kv.bits)", roundsCache)
    }

    /// Whether `quantize` learns rotations, where it searches for nothing.
    private var learnsForRounding: Bool { quantize.transform == .learned && rotation.path == nil }

    /// Those of `rotation.*`. `qat` takes R1 and R2 from a file or none, and has no R3 and R4.
    private func rotationRules(_ job: ModelJob, rounds: Bool, isAuto: Bool) -> [Rule] {
        let (isRotate, trainsIntegers) = (job == .rotate, job == .qat && qat.method == .integer)
        let learns = isRotate || (job == .quantize && (isAuto || learnsForRounding))
        let begins = rotation.path == nil && (isAuto || [.hadamard, .learned].contains(quantize.transform))
        let usesOnline = (job == .quantize && quantize.online) || (job == .eval && (eval.hadamard || rotation.path != nil))
        func rules(_ names: [String], _ purpose: String, _ isUsed: Bool) -> [Rule] {
            names.map { Rule(keys: "rotation.\($0)", purpose: purpose, isUsed: isUsed) }
        }
        return rules(Self.ofLearning, "rotate, which learns rotations with it", isRotate)
            + rules(["gradient"], "rotate and qat.method=integer", isRotate || trainsIntegers)
            // Before those that are for other settings of the jobs named.
            + rules([""], "rotate, quantize, eval and qat.method=integer", rounds)
            + rules(
                ["r1", "r2"],
                "rotations that begin without a file, in rotate, in quantize with quantize.transform=hadamard or learned or "
                    + "quantize.recipe=auto, and in eval with eval.hadamard=true",
                isRotate || (job == .quantize && begins) || (job == .eval && eval.hadamard))
            + rules(
                ["r3", "r4"],
                "rotate, quantize with quantize.online=true, and eval with rotation.path or eval.hadamard=true",
                isRotate || usesOnline)
            + rules(
                ["retraction", "momentum", "sequences", "tokens"],
                "rotate, and quantize with quantize.transform=learned or quantize.recipe=auto", learns)
            + rules(
                ["sequences", "tokens"],
                "rotation.objective=range, whip or kurtosis, rotation.starts and rotation.pretrain_steps",
                !isRotate || rotation.objective.readsStoredRows || rotation.starts > 1 || rotation.pretrainSteps > 0)
    }
}

extension QuantizerGranularity {
    var isGroup: Bool { if case .group = self { true } else { false } }
}
