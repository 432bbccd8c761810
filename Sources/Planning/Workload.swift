package import Configuration
package import Models
internal import Parallelism
internal import Quantization
internal import Rotation
internal import TensorCore
internal import TernarySVD

/// The work of a job, for estimates of its cost: a configuration applied to a model's shape.
package struct Workload: Sendable {
    package let job: ModelJob
    package let shape: Architecture
    package let config: RunConfig
    /// Sequences of a step, over all replicas. For `ptq`, `quantize` and `eval`, whose only step is the whole job: those of
    /// the evaluation.
    package let sequences: Int
    package let length: Int
    /// Where this is a part of another job: that job, on whose stages it runs, and its settings.
    private var whole: (job: ModelJob, config: RunConfig)?
    /// Those that were asked for already: a search asks for each many times.
    private(set) var divisions = Divisions()

    /// Windows that are assumed where a whole text is evaluated, since their number is not known here.
    static let unknownWindows = DataSettings.defaultEvalWindows

    package init(_ job: ModelJob, _ config: RunConfig, _ shape: Architecture) {
        self.job = job
        self.shape = shape
        self.config = config
        length = config.data.sequenceLength
        switch job {
        case .rotate, .train, .qat: sequences = config.training.batchSize
        case .ptq, .quantize, .eval: sequences = config.data.evalWindows ?? Self.unknownWindows
        }
    }

    /// The same as a part of another job.
    func part(of whole: Workload) -> Workload {
        var part = self
        (part.whole, part.divisions) = ((whole.job, whole.config), whole.divisions)
        return part
    }

    /// By whose work the blocks are divided into stages.
    var divided: Workload { whole.map { Workload($0.job, $0.config, shape) } ?? self }

    /// Steps of the job; `ptq`, `quantize` and `eval` are one.
    package var steps: Int {
        // Where both rotations are fixed, they are merged and scored alone.
        if job == .rotate, !learnsR1, !learnsR2 { return 0 }
        return learns ? config.training.steps : 1
    }

    package var trainsWeights: Bool { job == .train || job == .qat }
    package var isTernary: Bool { job == .ptq || (job == .qat && config.qat.method == .ternary) }
    private var isInteger: Bool { job == .qat && config.qat.method == .integer }

    /// Whether a full-precision network runs forward beside the one that learns.
    package var hasTeacher: Bool {
        switch job {
        case .rotate: config.rotation.objective == .divergence
        case .qat: config.distills
        case .train, .ptq, .quantize, .eval: false
        }
    }

    /// Whether integers or ternary factors are chosen, or channels scaled, by statistics of the layers' inputs.
    var calibrates: Bool {
        quantizations.contains { $0.inputs != nil } || job == .ptq && config.ternary.weighting != .none
            || job == .quantize && !Set(config.quantizeTransforms).isDisjoint(with: [.smoothquant, .balance])
    }

    /// The ways to choose integers that `quantize` tries.
    var quantizations: [any WeightQuantization] {
        guard job == .quantize else { return [] }
        guard config.quantize.recipe == .given else { return config.weightCandidates }
        return [config.weightQuantization].compactMap(\.self)
    }

    /// Whether it reads the training text, and so draws sequences where none is given.
    var readsText: Bool { config.readsText(job) }
    /// Sequences that are drawn where no text is given; for stored activations no more than are stored.
    var drawnSequences: Int {
        let drawn = config.data.sampledSequences
        return job == .rotate && config.rotation.objective.readsStoredRows ? min(drawn, config.rotation.sequences) : drawn
    }

    /// Sequences of each text that the model draws.
    var drawnTexts: [Int] {
        let windows = config.data.evalWindows ?? Self.unknownWindows
        return (config.data.eval.path == nil ? [windows] : [])
            + (readsText && config.data.train.path == nil ? [drawnSequences] : [])
    }

    /// Sequences that a job calibrates on, and sequences that it compares recipes on. How many a text has is not known here.
    var calibration: (calibrated: Int, compared: Int) {
        let count = config.data.train.path == nil ? config.data.sampledSequences : .max
        guard job == .quantize, config.quantize.recipe == .auto else { return (min(count, config.calibration.sequences), 0) }
        return config.dividedForRecipes(max(2, count))
    }

    /// Whether steps run the network: some objectives of rotations look only at stored activations or at the weights.
    package var runsNetwork: Bool { job != .rotate || config.rotation.objective.runsNetwork }
    /// Whether steps cut a replica's sequences into micro-batches.
    var cutsSteps: Bool { learns && runsNetwork }
    /// Whether they look at the weights alone.
    var looksAtWeights: Bool { job == .rotate && config.rotation.objective == .weights }
    /// What replicas divide among them in a step: its sequences, those whose activations are stored, or the blocks whose
    /// weights it looks at. Replicas beyond have nothing to do.
    var dividedParts: Int { runsNetwork ? sequences : looksAtWeights ? shape.blocks.count : storedSequences }
    /// Sequences whose activations are stored, over all replicas.
    var storedSequences: Int {
        let rotation = config.rotation
        let isAsked = rotation.objective.readsStoredRows || rotation.starts > 1 || rotation.pretrainSteps > 0
        guard job == .rotate, isAsked else { return 0 }
        // How many sequences a text has is not known here.
        return config.data.train.path == nil ? min(config.data.sampledSequences, rotation.sequences) : rotation.sequences
    }
    /// Tokens of the stored sequences that a step uses, over all replicas.
    var storedTokens: Int {
        storedSequences * RotationObjective.tokens(config.rotation.tokens, ofEach: storedSequences, length: length)
    }
    /// Tokens that a step uses, over all replicas; 0 where it uses only weights.
    var tokensPerStep: Int { runsNetwork ? sequences * length : storedTokens }

    /// The learning of the rotations that `quantize` learns itself, or that `rotate` learns before its first step; nil where
    /// there is none.
    var learning: Workload? {
        switch job {
        case .quantize:
            let learns = config.quantize.recipe == .auto || config.quantize.transform == .learned
            return learns && config.rotation.path == nil ? Workload(.inQuantize, config, shape).part(of: self) : nil
        case .rotate:
            guard config.rotation.pretrainSteps > 0 else { return nil }
            var config = config
            (config.rotation.objective, config.rotation.trainWeightBits) = (.range, 16)
            (config.training.steps, config.rotation.pretrainSteps) = (config.rotation.pretrainSteps, 0)
            return Workload(.rotate, config, shape).part(of: self)
        case .train, .qat, .ptq, .eval: return nil
        }
    }

    /// Steps that learn rotations: those of `rotate`, or those that `quantize` takes where it learns rotations itself.
    package enum RotationSteps: Sendable { case ofRotate, inQuantize }

    /// The work of such steps.
    package init(_ steps: RotationSteps, _ config: RunConfig, _ shape: Architecture) {
        guard steps == .inQuantize else {
            self.init(.rotate, config, shape)
            return
        }
        var own = config
        // Nothing else comes before these steps, whatever is set for `rotate`.
        (own.rotation.starts, own.rotation.pretrainSteps) = (1, 0)
        // Counted with the job's own use of the calibration text.
        own.rotation.balance = false
        own.rotation.objective = config.roundsTurnedActivations ? .range : .weights
        own.training.steps = config.quantize.learningSteps
        self = Workload(.rotate, own, shape).part(of: Workload(.quantize, config, shape))
    }

    /// Forward passes of networks in a step: the job's own, and those that it is compared with.
    var passes: Int {
        switch job {
        // Full precision; then each other row of the table, with full precision beside it.
        case .eval: 1 + 2 * (evaluated.rounded + evaluated.integers + evaluated.changed)
        // Full precision; rounded beside full precision; as written beside full precision.
        case .quantize: 5
        // Full precision; as written beside it, and with integers of 4 and of 3 bits.
        case .ptq: config.eval.compare ? 7 : 3
        case .rotate, .train, .qat: hasTeacher ? 2 : 1
        }
    }

    /// Rows of `eval` besides full precision: those whose weights it rounds (as stored, with norms folded, with Hadamard
    /// rotations, with a file's rotations); the integers that ternary factors are compared with; the changed model (ternary or
    /// trained).
    var evaluated: (rounded: Int, integers: Int, changed: Int) {
        guard !config.scoresAsStored else { return (0, 0, 0) }
        let isRounded = config.quantization.weights.bits < 16 || config.quantization.activations.bits < 16
        let rotated = (config.eval.hadamard ? 1 : 0) + (config.rotation.path == nil ? 0 : 1)
        let isTernary = config.ternary.path != nil
        return (
            1 + (isRounded ? 1 : 0) + rotated, isTernary && config.eval.compare ? 2 : 0,
            isTernary || config.eval.trained != nil ? 1 : 0
        )
    }

    /// Whether one of the networks runs from ternary factors.
    var scoresFactors: Bool { job == .ptq || job == .eval && config.ternary.path != nil }

    /// Whether activations and cache pass through quantizers in the step.
    package var quantizesActivations: Bool { job == .rotate || isInteger || job == .quantize || job == .eval }

    /// Whether the linears' weights are rounded again in every step.
    package var roundsWeights: Bool {
        switch job {
        case .rotate: config.rotation.trainWeightBits < 16
        case .qat: isInteger && config.quantization.weights.bits < 16
        case .train, .ptq, .quantize, .eval: false
        }
    }

    /// Whether the job takes steps.
    package var learns: Bool { job == .rotate || trainsWeights }
    /// Whether these steps run a backward pass. Where no rotation is learned, or nothing is rounded that it turns,
    /// nothing needs a gradient.
    var runsBackward: Bool { trainsWeights || observesR1 || observesR2 }
    /// Whether something is rounded that R1 or R2 turns: only that gives it a gradient.
    var observesR1: Bool { learnsR1 && (roundsWeights || config.quantization.activations.bits < 16) }
    var observesR2: Bool { learnsR2 && (roundsWeights || config.roundsTurnedActivations) }
    /// Whether the backward pass forms gradients of the linears' weights.
    package var needsWeightGradients: Bool { trainsWeights || (job == .rotate && roundsWeights) }
    package var learnsR1: Bool { job == .rotate && config.rotation.r1 == .learned }
    package var learnsR2: Bool { job == .rotate && config.rotation.r2 == .learned }
    /// Whether there is an R1. A file may hold one, whatever the other settings say.
    var hasR1: Bool { config.rotation.r1 != .none || config.rotation.path != nil }
    var hasR2: Bool { config.rotation.r2 != .none || config.rotation.path != nil }
    /// Whether there are rotations at all, those at run time included.
    var rotates: Bool {
        let online = config.rotation.r4 != .none || config.rotation.r3 != .none && config.quantization.kv.keys < 16
        return hasR1 || hasR2 || online
    }
    package var recomputes: Bool { learns && config.training.recompute }
    /// Whether backward passes leave the gradients of weights and rotations for later where there are stages: not where a
    /// teacher's passes fill the time, nor recomputing, since what they need would stay in memory.
    var putsOffGradients: Bool {
        let schedule = config.parallel.schedule
        return runsBackward && runsNetwork && !hasTeacher && !recomputes
            && schedule.deferred(stage: 1, stages: 2, microbatches: 2) > 0
    }
    /// Whether the network's passes multiply bfloat16 numbers.
    package var narrowsProducts: Bool { learns && config.training.precision == .bfloat16 }

    /// Where R1 is applied, as the job itself decides it.
    func rotationPlan(replicas: Int) -> RotationPlan {
        let step = (job == .eval ? config.training.batchSize : sequences) * length
        let replicas = job == .eval ? 1 : replicas
        return RotationPlan(
            shape, tokens: [.rotate, .eval].contains(job) ? RotationPlan.tokens(perStep: step, replicas: replicas) : step,
            weightsQuantized: roundsWeights, storage: config.model.storage)
    }

    /// Every number of stages that these ranks, `parallel.*`, the model's layers and the sequences of a step allow, ascending.
    func stageCounts(ranks: Int) -> [Int] {
        let (data, pipeline) = (config.parallel.data, config.parallel.pipeline)
        return (1...min(ranks, shape.blocks.count)).filter { stages in
            let replicas = ranks / stages
            guard stages * replicas == ranks, stages == pipeline ?? stages, replicas == data ?? replicas else { return false }
            // With fewer micro-batches than stages, some stage would always wait.
            return stages == 1 || !cutsSteps
                || (sequences / replicas >= stages && config.parallel.microbatches ?? stages >= stages)
        }
    }
}
