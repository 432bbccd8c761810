internal import Autograd
internal import Configuration
internal import Datasets
internal import Models
internal import Quantization
internal import Rotation

/// Bytes a stage needs at its fullest moment: the largest of a training step, an evaluation and the end of the run.
struct StageMemory {
    /// Program, libraries, their buffers and the run's tokens; what MPI and sockets need where there are other ranks.
    static let process = 36 << 20
    static let messages = 10 << 20
    /// Gaps between buffers of many sizes.
    static let slack = 1.04

    private let workload: Workload
    private let cost: ModelCost
    private let part: StagePart
    private let shape: Architecture
    private var blocks: ArraySlice<Architecture.Block> { shape.blocks[part.blocks] }

    init(_ workload: Workload, _ part: StagePart) {
        self.workload = workload
        self.part = part
        shape = workload.shape
        cost = ModelCost(shape)
    }

    /// - Parameters:
    ///   - sequences: of a micro-batch.
    ///   - alive: micro-batches between their forward and backward pass.
    ///   - deferred: micro-batches of which the weights' gradients are put off.
    ///   - ahead: micro-batches of which a teacher's states are kept.
    ///   - sides: where R1 is merged into the weights in training.
    ///   - replicas: ranks that share the optimizer's state where it is sharded.
    ///   - stages: among which the layers are divided.
    func bytes(sequences: Int, alive: Int, deferred: Int, ahead: Int, sides: RotatedSides, replicas: Int, stages: Int) -> Int {
        let states = Double(ahead * sequences * workload.length) * Double(shape.hiddenSize)
        let passes = activations(sequences: sequences, alive: alive) + putOff(sequences: deferred * sequences) + states
        let busy = max(passes, retraction, workload.job == .qat ? ternaryMaking : 0)
        let step = weightsInStep(sides, replicas: replicas) + busy
        let ends = max(weightsInEvaluation(sides), weightsAtEnd) + passing(sequences: 1, pair: true)
        let values = max(
            step, ends, trained(replicas: replicas), learning(replicas: replicas), drawing(replicas: replicas, stages: stages))
        let fixed = Self.process + (replicas * stages == 1 ? 0 : Self.messages)
        return Int(bytes: Double(fixed) + Self.slack * 4 * values)
    }

    // MARK: Weights, in values

    private var linears: Double { part.blocks.reduce(0) { $0 + Double(cost[$1].linears) } }
    private var embedding: Double { part.isFirst ? Double(cost.head) : 0 }
    private var head: Double { part.isLast ? Double(cost.head) : 0 }

    /// An embedding that may stay in bfloat16 counts in full, since only its file tells.
    private var parameters: Double { workload.parameters(part) }

    /// Values that a resting weight takes: a half in bfloat16, none in its file. Either has float32 copies, one at a time.
    private var resting: Double {
        switch workload.config.model.storage {
        case .f32: 1
        case .bf16: 0.5
        case .file: 0
        }
    }
    private var isWidened: Bool { resting < 1 }

    /// The full-precision network with norms fused and R4 in the down projections. A fused head is no longer tied.
    private var rotationBase: Double {
        if isWidened { return resting * parameters + widened }
        return parameters + (shape.tiesHead && part.isFirst && part.isLast ? head : 0)
    }

    /// A block's matrices that R2 rotates in float32, twice; the largest of the others; and the head.
    private var widened: Double {
        let widest = blocks.map { block -> Double in
            let (rotated, others) = (block.linears.filter(\.ports.carriesR2), block.linears.filter { !$0.ports.carriesR2 })
            return 2 * rotated.reduce(0) { $0 + Double($1.spec.count) } + (others.map { Double($0.spec.count) }.max() ?? 0)
        }
        return (widest.max() ?? 0) + head
    }

    /// Linears as integers at rest: two a byte of up to 4 bits, else one.
    private var asIntegers: Double { linears / (workload.config.quantization.weights.bits <= 4 ? 8 : 4) }

    private func weightsInStep(_ sides: RotatedSides, replicas: Int) -> Double {
        switch workload.job {
        case .rotate:
            let rounded = workload.roundsWeights ? 2 * linears : 0
            // What is rounded anew is rotated as weights, which no longer fit in half.
            let widened = isWidened && workload.roundsWeights ? embedding + head : 0
            return rotationBase + merged(sides) + widened + rounded + rotations + storedRows(replicas: replicas)
        case .train, .qat:
            // The largest gradients in the making.
            let largest = max(head, blocks.flatMap(\.linears).map { Double($0.spec.count) }.max() ?? 0)
            // While a checkpoint is written, the next step, if any, runs beside a copy of what the rank writes of it.
            let every = workload.config.checkpoint.every
            let isFollowed = every > 0 && every < workload.config.training.steps
            let written = isFollowed ? saved(replicas: replicas) : 0
            return training(replicas: replicas) + written + (workload.roundsWeights ? linears : 0) + 2 * largest
        case .ptq: return decomposed(replicas)
        case .quantize: return quantized(replicas: replicas)
        case .eval: return isWidened ? resting * parameters + widened : parameters
        }
    }

    /// What lasts from step to step of a training: masters, gradients, the optimizer's states, ternary layers; and the network
    /// as read, for comparison.
    private func training(replicas: Int) -> Double {
        let shared = workload.config.optimizer.shard ? optimizerStates / Double(replicas) : optimizerStates
        return parameters * (3 + shared) + ternaryState + TernaryWork(workload).keptFactors(part, replicas: replicas)
    }

    /// Once the last step is taken: beside what training holds the larger of the copy of the optimizer's states, of which the
    /// last checkpoint is written, and the trained network as it will be written.
    private func trained(replicas: Int) -> Double {
        guard workload.trainsWeights else { return 0 }
        let isSaved = workload.config.checkpoint.every > 0
        // The gradient of a tied head lies beside that of the embedding.
        let tied = shape.tiesHead && part.isFirst ? head : 0
        return training(replicas: replicas) + tied
            + parameters * max(1, isSaved ? optimizerStates / Double(replicas) : 0)
    }

    private var optimizerStates: Double { workload.config.training.optimizer == .adamw ? 2 : 1 }

    /// What a rank writes of a training's checkpoint: its share of weights, optimizer's states, and ternary layers.
    func saved(replicas: Int) -> Double { ((1 + optimizerStates) * parameters + ternaryState) / Double(replicas) }

    /// The network, and beside it the largest of: one rounded for comparison; its integers with what calibration holds, which
    /// is the inputs of a block for all of a replica's sequences, the block's matrices twice, and of the widest input the
    /// second moments, their factor and a copy in double precision; its integers twice, once they are written and read back,
    /// with a head of their own.
    private func quantized(replicas: Int) -> Double {
        let base = isWidened ? resting * parameters + widened : parameters
        let rounded = resting == 0 ? asIntegers : linears
        return base + max(rounded, asIntegers + calibration(replicas), 2 * asIntegers + head)
    }

    /// What `quantize` holds while it learns rotations: the network, what folded norms change of it, the rotations, and the
    /// rows that they are learned on.
    private func learning(replicas: Int) -> Double {
        guard workload.job == .quantize, let workload = workload.learning else { return 0 }
        let learner = StageMemory(workload, part)
        let changed = blocks.flatMap(\.linears).filter(\.ports.reads.readsResidual).reduce(0) { $0 + Double($1.spec.count) }
        let folded = isWidened ? learner.rotationBase : changed + head
        return (isWidened ? resting : 1) * parameters + folded + learner.rotations + learner.storedRows(replicas: replicas)
            + max(learner.passing(sequences: 1, pair: false), learner.retraction)
    }

    /// What is read, and the keys and values of the sequences that are drawn together, of as many chunks as there are stages.
    private func drawing(replicas: Int, stages: Int) -> Double {
        let most = workload.drawnTexts.max() ?? 0
        let rows = min((most + replicas - 1) / replicas, stages * SampledTokens.chunk)
        let cached = blocks.reduce(0) { $0 + $1.width(.key) + $1.width(.value) }
        return (isWidened ? resting : 1) * parameters + made + Double(rows * workload.length) * Double(cached)
    }

    /// What a calibration holds beside an evaluation's pass: see ``quantized(replicas:)``. With weights in their file it keeps
    /// a block's inputs in one, too.
    private func calibration(_ replicas: Int) -> Double {
        guard workload.calibrates else { return 0 }
        let share = resting == 0 ? 1 : (workload.calibration.calibrated + replicas - 1) / replicas
        let inputs = Double(share * workload.length) * Double(shape.hiddenSize)
        let widest = blocks.flatMap(\.linears).map { Double($0.spec.shape[1]) }.max() ?? 0
        let largest = part.blocks.map { Double(cost[$0].parameters) }.max() ?? 0
        let pass = Double(workload.windowsOfPass * workload.length) * passingValues
        let further = max(0, pass - passing(sequences: 1, pair: hasPair))
        let held = inputs + further + 2 * largest + (gathersMoments ? 6 : 0) * widest * widest
        // The full-precision network's inputs and block, the deviations from them and a factor of their own.
        let compares = workload.quantizations.contains { $0.inputs == .deviation }
        return held + (compares ? inputs + largest + 6 * widest * widest : 0)
    }

    /// Whether a calibration keeps more of inputs than their channels' sizes.
    private var gathersMoments: Bool {
        workload.job == .ptq || workload.config.quantizeTransforms.contains(.balance)
            || workload.quantizations.contains { $0.inputs.map { $0 != .channels } ?? false }
    }

    /// The network, and beside it the largest of: this replica's factors as they are made, or a calibration; its ternary layers
    /// rounded to integers, for comparison; itself as read back, its factors at no more than two bits an entry (one and the
    /// share of non-zeros, which is not known beforehand).
    private func decomposed(_ replicas: Int) -> Double {
        let ternary = TernaryWork(workload)
        let layers = ternary.layers(part)
        let (weights, entries) = layers.reduce((0, 0)) { ($0.0 + $1.weights, $0.1 + ternary.entries($1)) }
        // Digits are chosen layer by layer on the calibration text, and kept packed.
        let alone = workload.config.ternary.bits == nil ? ternaryMaking + entries / Double(replicas) : 0
        let making = max(alone, calibration(replicas) + packedEntries(entries) + digitMaking)
        let compared = !workload.config.eval.compare ? 0 : resting == 0 ? asIntegers : weights
        let written = resting * (parameters - weights) + packedEntries(entries)
        return resting * parameters + (isWidened ? widened : 0) + max(making, compared, written)
    }

    /// Values that entries of U and V take at no more than two bits each.
    private func packedEntries(_ entries: Double) -> Double { entries / 16 }

    /// R1, and packed its skew gradient of the last step and each block's in double precision; R2 of all layers.
    private var rotations: Double {
        let (h, d) = (Double(shape.hiddenSize), Double(shape.headDimension ?? 0))
        let gradients = workload.learnsR1 ? Double(1 + part.blocks.count) * h * h : 0
        return (workload.hasR1 ? h * h : 0) + gradients + (workload.hasR2 ? 4 * Double(shape.layerCount) * d * d : 0)
    }

    /// What rotated quantizers read of the stored sequences, and of one site what a step makes of it.
    private func storedRows(replicas: Int) -> Double {
        let share = workload.storedSequences.largestShare(replicas)
        // With weights in their file the rows are in one, too.
        let widths = resting == 0 ? 0 : blocks.reduce(0) { $0 + $1.quantizedWidth }
        return share
            * (Double(workload.storedSequences * workload.length) * Double(widths)
                + Double(3 * workload.storedTokens * max(shape.hiddenSize, blocks.map { $0.width(.outputInput) }.max() ?? 0)))
    }

    /// The Cayley step's system and solution in double precision and its matrices, when activations are gone.
    private var retraction: Double { workload.learnsR1 ? 7 * Double(shape.hiddenSize * shape.hiddenSize) : 0 }

    /// Copies of the matrices that a step rotates.
    private func merged(_ sides: RotatedSides) -> Double {
        isWidened ? 0 : workload.rotatedValues(part, sides)
    }

    /// Values of a ternary layer's matrix and of its factors.
    private func result(_ layer: TernaryWork.Layer) -> Double { layer.weights + layer.entries }

    /// Rests and factors of all layers in training. An entry takes two bits packed, and 5 on average as the product reads it:
    /// a byte in V, and in U one for each that is not 0, a fifth.
    private var ternaryState: Double { TernaryWork(workload).layers(part).reduce(0) { $0 + $1.weights + $1.entries / 5 } }

    /// One layer decomposed: both several times, and the factors' Gram matrices with their Cholesky factors in double
    /// precision.
    private var ternaryMaking: Double {
        TernaryWork(workload).layers(part).map { 6 * result($0) + 6 * $0.components * $0.components }.max() ?? 0
    }

    /// One layer's digits: the matrix, its errors, their gradients and the numbers; each digit as a byte, as a column of U, and
    /// of U twice as it is packed; V, which says of which inputs the digits are.
    private var digitMaking: Double {
        let ternary = TernaryWork(workload)
        guard let digits = ternary.digits else { return 0 }
        return ternary.layers(part).map { (3.5 + 3.25 * digits) * $0.weights + digits * $0.columns * $0.columns }.max() ?? 0
    }

    /// Beside the network itself, the one with rotations merged, on all sides where its weights are rounded.
    private func weightsInEvaluation(_ sides: RotatedSides) -> Double {
        guard workload.job == .rotate || workload.job == .eval else { return 0 }
        let config = workload.config
        let isRounded = config.quantization.weights.bits < 16
        let isRotated = workload.job == .rotate || config.rotation.path != nil || config.eval.hadamard
        let base = isRotated ? rotationBase : weightsInStep(sides, replicas: 1)
        // Of weights in their files the rounded ones are integers, and the ends stay there.
        let isCopied = isRounded || workload.evaluated.integers > 0
        let copy = !isCopied ? 0 : resting == 0 ? asIntegers : linears + (isWidened ? embedding + head : 0)
        return base + copy + (isRotated ? merged(isRounded ? .all : sides) : 0) + besides(isRotated)
    }

    /// What `eval` holds besides: the network as stored while tasks are scored on a rotated one, and ``made``.
    private func besides(_ isRotated: Bool) -> Double {
        guard workload.job == .eval else { return 0 }
        return (isRotated && !workload.config.eval.tasks.entries.isEmpty ? resting * parameters : 0) + made
    }

    /// What training has made of the model that `eval` scores, packed with embedding and head of its own, or in floats;
    /// factors.
    private var made: Double {
        let config = workload.config
        guard workload.job == .eval else { return 0 }
        let isRounded = config.quantization.weights.bits < 16
        let trained = config.eval.trained == nil ? 0 : isRounded ? asIntegers + embedding + head : parameters
        return trained + packedEntries(TernaryWork(workload).layers(part).reduce(0) { $0 + $1.entries })
    }

    /// What `rotate` ends with: the network with norms folded, read again, beside it as stored where channels are balanced too,
    /// and of what is checked and written a matrix at a time, the largest of which is the head; packed, its integers, and once
    /// more as they are read back, with embedding and head of their own.
    private var weightsAtEnd: Double {
        guard workload.job == .rotate else { return 0 }
        let config = workload.config
        let stored = config.rotation.balance ? (isWidened ? resting : 1) * parameters : 0
        let largest = isWidened ? 0 : max(head, blocks.flatMap(\.linears).map { Double($0.spec.count) }.max() ?? 0)
        let packed = config.quantization.weights.bits < 16 ? 2 * asIntegers + embedding + head : 0
        return rotationBase + max(stored + largest, packed)
    }

    // MARK: Activations, in values

    private func activations(sequences: Int, alive: Int) -> Double {
        guard workload.runsBackward, workload.runsNetwork else {
            return passing(sequences: workload.runsNetwork ? sequences : 1, pair: hasPair)
        }
        let tokens = Double(sequences * workload.length)
        let input = Double(shape.hiddenSize)
        // What the first norm reads needs no gradient where the embedding learns nothing.
        let entry = part.isFirst && !workload.trainsWeights ? input : 0
        let layers = shape.layers(in: part.blocks).map { blocks in
            blocks.reduce(0.0) {
                $0 + Double(cost[$1].activations(weightGradients: workload.needsWeightGradients)) + quantizers($1)
            }
        }
        // Recomputing, a layer keeps its input, unless that is tokens; one at a time has all the rest.
        let kept =
            workload.recomputes
            ? Double(alive * (part.isFirst ? layers.count - 1 : layers.count)) * input + (layers.max() ?? 0)
            : Double(alive) * (layers.reduce(0, +) - entry)
        return tokens * kept + passing(sequences: sequences, pair: hasPair)
    }

    /// What backward passes keep that put the gradients of weights and rotations off: what linears, and quantizers that are
    /// observed, read, and the gradients of what they write.
    private func putOff(sequences: Int) -> Double {
        guard workload.putsOffGradients else { return 0 }
        // The input's gradient is the output's where it passes straight through.
        let observed: Int = workload.config.rotation.gradient == .range ? 3 : 2
        let rotates = workload.observesR1 || workload.observesR2
        var values = 0
        for block in part.blocks {
            if workload.needsWeightGradients { values += cost[block].linearsEnds }
            if rotates { values += observed * shape.blocks[block].quantizedWidth }
        }
        return Double(sequences * workload.length * values)
    }

    /// What the quantizers of a block keep per token besides: what they round, where its gradient depends on it. Attention
    /// keeps what the output projection's rounds; where weights want gradients, the linears keep what is made of it.
    private func quantizers(_ block: Int) -> Double {
        guard workload.quantizesActivations else { return 0 }
        let (block, bits) = (shape.blocks[block], workload.config.quantization)
        let usesRange = workload.config.rotation.gradient == .range
        func kept(_ points: [HookPoint], at bits: Int, learns: Bool = false) -> Int {
            bits < 16 && (usesRange || learns) ? points.reduce(0) { $0 + block.width($1) } : 0
        }
        let rounded = workload.needsWeightGradients && bits.activations.bits < 16 ? block.width(.outputInput) : 0
        return Double(
            rounded + kept(block.residualInputs, at: bits.activations.bits, learns: workload.observesR1)
                + kept([.downInput], at: bits.activations.bits) + kept([.key], at: bits.kv.keys)
                + kept([.value], at: bits.kv.values, learns: workload.observesR2))
    }

    /// Whether logits of two networks stand beside each other: a teacher's, or those that a score is compared with.
    private var hasPair: Bool { workload.hasTeacher || !workload.learns }

    /// Values of a token that a layer holds while it computes.
    private var passingValues: Double { Double(3 * shape.downWidth + 4 * shape.hiddenSize) }

    /// What a layer holds while it computes, and a block of logits, twice where they are compared.
    private func passing(sequences: Int, pair: Bool) -> Double {
        let tokens = sequences * workload.length
        let logits =
            part.isLast
            ? Double((pair ? 2 : 1) * min(tokens, LogitBlock.rows(vocabulary: shape.vocabularySize)) * shape.vocabularySize)
            : 0
        return Double(tokens) * (passingValues + (part.isLast ? Double(2 * shape.hiddenSize) : 0)) + logits
    }
}

extension Workload {
    /// Values of a stage's matrices that are rotated: those with R1 on a side, where it is in the weights; v and o, with R2.
    func rotatedValues(_ part: StagePart, _ sides: RotatedSides) -> Double {
        let sides = hasR1 ? sides : .none
        let linears = shape.blocks[part.blocks].flatMap(\.linears).filter {
            hasR2 && $0.ports.carriesR2 || $0.ports.carriesR1(sides)
        }
        let ends = (part.isFirst && sides.contains(.embedding) ? 1 : 0) + (part.isLast && sides.contains(.headInput) ? 1 : 0)
        return linears.reduce(0) { $0 + Double($1.spec.count) } + Double(ends) * Double(shape.head.count)
    }
}

extension ParameterSpec.Ports {
    fileprivate var carriesR2: Bool { writes == .value || reads == .outputInput }

    fileprivate func carriesR1(_ sides: RotatedSides) -> Bool {
        (reads.readsResidual && sides.contains(reads)) || (writes.map { $0.writesResidual && sides.contains($0) } ?? false)
    }
}
