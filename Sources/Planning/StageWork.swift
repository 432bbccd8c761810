internal import Autograd
internal import Configuration
internal import Models
internal import Rotation

/// Some blocks of a model, and its ends where the first or the last block is among them.
package struct StagePart: Sendable, Equatable {
    package var blocks: Range<Int>
    package var isFirst: Bool
    package var isLast: Bool

    init(blocks: Range<Int>, isFirst: Bool, isLast: Bool) {
        (self.blocks, self.isFirst, self.isLast) = (blocks, isFirst, isLast)
    }

    package init(_ blocks: Range<Int>, of shape: Int) {
        self.init(blocks: blocks, isFirst: blocks.lowerBound == 0, isLast: blocks.upperBound == shape)
    }
}

/// What a stage computes for a micro-batch, and once in a step.
struct StageWork {
    private let workload: Workload
    private let cost: ModelCost
    private let rotation: RotationCost
    /// Where R1 is in the weights.
    private let sides: RotatedSides
    private let sequences: Int
    private let replicas: Int
    /// The replica that learns from each block's weights; empty where steps learn from something else.
    private let owners: [Int]
    private var tokens: Double { Double(sequences * workload.length) }

    /// - Parameters:
    ///   - sequences: of a micro-batch.
    ///   - replicas: of the job.
    init(_ workload: Workload, sequences: Int, replicas: Int) {
        self.workload = workload
        (self.sequences, self.replicas) = (sequences, replicas)
        owners = workload.looksAtWeights ? workload.shape.weightOwners(replicas: replicas) : []
        cost = ModelCost(workload.shape)
        let plan = workload.rotationPlan(replicas: replicas)
        sides = plan.sides
        rotation = RotationCost(workload.shape, plan, hasR1: workload.hasR1)
    }

    private var usesRotations: Bool { workload.job == .rotate }

    // MARK: A micro-batch

    func forward(_ part: StagePart) -> Work {
        guard workload.runsNetwork else { return Work() }
        var work = part.blocks.reduce(Work()) { $0 + blockForward($1) }
        if part.isFirst { work = work + Work(products: usesRotations ? 2 * tokens * rotation.embedding.perToken : 0) }
        if part.isLast { work = work + Double(workload.passes) * headPass }
        if workload.scoresFactors { work = work + TernaryWork(workload).running(part, tokens: tokens) }
        return work
    }

    /// Of what ``forward(_:)`` counts, the teacher's passes through the blocks, which stages may make while others work.
    func teacher(_ part: StagePart) -> Work {
        workload.hasTeacher ? part.blocks.reduce(Work()) { $0 + networkForward($1) } : Work()
    }

    /// Of what ``backward(_:)`` counts, the products that stages may put off.
    func weightGradients(_ part: StagePart) -> Work {
        guard workload.putsOffGradients else { return Work() }
        return part.blocks.reduce(Work()) { $0 + Work(products: 2 * blockGradients($1), values: gathering($1)) }
    }

    /// Multiply-adds of the gradients of a block's weights and rotations.
    private func blockGradients(_ block: Int) -> Double {
        let weights = workload.needsWeightGradients ? Double(cost[block].linears) : 0
        return tokens * (weights + rotation.gradients(block, r1: workload.observesR1, r2: workload.observesR2))
    }

    /// Values written as the gradients of a block's weights are added to those of the micro-batches before.
    private func gathering(_ block: Int) -> Double {
        workload.needsWeightGradients ? Double(cost[block].parameters) : 0
    }

    /// The micro-batch's products with matrices of so many weights, which are laid out for each.
    private func products(_ weights: Double) -> Work {
        Work(products: 2 * tokens * weights, values: cost.valuesOfAWeight * weights)
    }

    private func networkForward(_ block: Int) -> Work { cost.pass(workload, block, sequences: sequences) }

    /// All passes of the block.
    private func blockForward(_ block: Int) -> Work {
        Double(workload.passes - 1) * networkForward(block) + recorded(block)
    }

    /// The forward pass that a backward pass differentiates.
    private func recorded(_ block: Int) -> Work {
        var work = networkForward(block)
        if workload.quantizesActivations { work.values += tokens * quantizerValues(block) }
        // Half of what is rotated in activations is rotated forward, the other half backward.
        if usesRotations { work.products += tokens * rotation.block(block).perToken }
        return work
    }

    /// Values that a block's quantizers and online transforms write, per token.
    private func quantizerValues(_ block: Int) -> Double {
        let (block, bits, rotation) = (workload.shape.blocks[block], workload.config.quantization, workload.config.rotation)
        let (query, key, down) = (block.width(.outputInput), block.width(.key), block.width(.downInput))
        let inputs = block.residualInputs.reduce(0) { $0 + block.width($1) }
        let rounded =
            (bits.activations.bits < 16 ? inputs + query + down : 0) + (bits.kv.keys < 16 ? key : 0)
            + (bits.kv.values < 16 ? block.width(.value) : 0)
        // Integers are trained without transforms.
        guard workload.job != .qat else { return Double(rounded) }
        let turned =
            (rotation.r3 != .none && bits.kv.keys < 16 ? query + key : 0) + (rotation.r4 != .none ? down : 0)
        return Double(rounded + turned)
    }

    /// Logits and what is made of them.
    private var headPass: Work { headProduct + Work(values: 2 * tokens * Double(workload.shape.vocabularySize)) }

    /// The head times some rows at a time, for which it is laid out again.
    private var headProduct: Work {
        Work(
            products: 2 * tokens * Double(cost.head),
            values: logitBlocks * cost.valuesOfAWeight * Double(cost.head))
    }

    private var logitBlocks: Double {
        (tokens / Double(LogitBlock.rows(vocabulary: workload.shape.vocabularySize))).rounded(.up)
    }

    func backward(_ part: StagePart) -> Work {
        guard workload.runsBackward, workload.runsNetwork else { return Work() }
        var work = part.blocks.reduce(Work()) { $0 + blockBackward($1) }
        if part.isLast {
            // The logits' gradient goes to the hidden states and, where it learns, to the head, whose gradient is written for
            // each block and then added to those before it.
            work = work + headProduct
            if workload.trainsWeights { work = work + headProduct + Work(values: Double(cost.head)) }
            if usesRotations { work.products += 2 * tokens * rotation.head.perToken }
        }
        return work
    }

    private func blockBackward(_ block: Int) -> Work {
        let cost = cost[block]
        // Attention's scores are formed again: five products for the two of the forward pass.
        let attention = 2.5 * self.cost.attention(workload, block, sequences: sequences)
        let quantizers = workload.quantizesActivations ? 2 * quantizerValues(block) : 0
        let values = tokens * (2 * cost.values(length: workload.length) + quantizers) + gathering(block)
        var work =
            products(Double(cost.linears)) + attention + Work(products: 2 * blockGradients(block), values: values)
        if usesRotations { work.products += tokens * rotation.block(block).perToken }
        if workload.recomputes { work = work + recorded(block) }
        return work
    }

    // MARK: Once a step

    /// What a rank of this stage computes once in a step, by who else computes the same.
    struct Once {
        /// On every rank.
        var byAll = Work()
        /// On every replica of the stage.
        var byReplicas = Work()
        /// By this rank alone.
        var own = Work()
        /// Work while the other stages wait: a calibration processes stages one after the other.
        var inTurn = Work()

        var total: Work { byAll + byReplicas + own + inTurn }
    }

    func once(_ part: StagePart, _ layout: Layout, _ sharing: StepSharing) -> Once {
        let replicas = Double(layout.data)
        var once = Once()
        if usesRotations {
            let ranks = sharing.dividesUpdate ? Double(layout.ranks) : 1
            once.byAll = retraction.alike
            if ranks > 1 { once.own = 1 / ranks * retraction.byRow } else { once.byAll = once.byAll + retraction.byRow }
            guard workload.runsNetwork else {
                once.own = once.own + withoutNetwork(part)
                return once
            }
        }
        let weights = weightsOnce(part).work
        if sharing.dividesWeights { once.own = once.own + 1 / replicas * weights } else { once.byReplicas = weights }
        if workload.roundsWeights, workload.learnsR1 {
            // EᵀG or E·Gᵀ for each weight that carries R1.
            once.own.products += 2 * linears(part) * Double(workload.shape.hiddenSize)
        }
        if workload.trainsWeights {
            let count = workload.parameters(part)
            once.own.values += CalibratedRates.valuesOfEmptying * count
            once.byReplicas.values += CalibratedRates.valuesOfSquaring * count
            if workload.config.optimizer.shard {
                once.own.values += CalibratedRates.valuesOfAnUpdate * count / replicas
            } else {
                once.byReplicas.values += CalibratedRates.valuesOfAnUpdate * count
            }
        }
        if workload.job == .quantize {
            let work = QuantizeWork(workload).once(part, replicas: layout.data)
            once.byReplicas = once.byReplicas + work.alike
            once.own = once.own + 1 / replicas * work.divided
            once.inTurn = once.inTurn + work.inTurn
        }
        if workload.isTernary {
            let (own, alike) = TernaryWork(workload).step(part, replicas: layout.data)
            (once.own, once.byReplicas) = (once.own + own, once.byReplicas + alike)
            if workload.job == .ptq, workload.config.eval.compare {
                once.byReplicas.searches += 2 * TernaryWork(workload).layers(part).reduce(0) { $0 + $1.weights }
            }
            if workload.job == .ptq {
                once.inTurn = once.inTurn + TernaryWork(workload).calibration(part, replicas: layout.data)
            }
        }
        return once
    }

    /// Rotating and rounding a stage's weights.
    ///
    /// - Returns: the work, and the bytes of its result.
    func weightsOnce(_ part: StagePart) -> (work: Work, bytes: Double) {
        var (work, bytes) = (Work(), 0.0)
        if usesRotations {
            let (h, d) = (Double(workload.shape.hiddenSize), Double(workload.shape.headDimension ?? 0))
            var sites = part.blocks.reduce(0) { $0 + rotation.block($1).once }
            if part.isFirst { sites += rotation.embedding.once }
            if part.isLast { sites += rotation.head.once }
            work.products += 2 * sites
            bytes += 4 * workload.rotatedValues(part, sides)
            if workload.hasR2 {
                let rows = part.blocks.reduce(0.0) { sum, block in
                    sum + Double(workload.shape.blocks[block].width(.value) + workload.shape.blocks[block].width(.outputInput))
                }
                work.products += 2 * rows * h * d
            }
        }
        if workload.roundsWeights {
            work.searches += linears(part)
            bytes += 4 * linears(part)
        }
        return (work, bytes)
    }

    private func linears(_ part: StagePart) -> Double { part.blocks.reduce(0) { $0 + Double(cost[$1].linears) } }

    /// A step on stored rows or on the weights, of the replica with most: replicas divide the stored sequences, or the blocks.
    func withoutNetwork(_ part: StagePart) -> Work {
        let (r1, r2) = (workload.learnsR1, workload.learnsR2)
        guard workload.looksAtWeights else {
            return rows(part, values: 4) { rotation.rowOperations($0, tokens: $1, r1: r1, r2: r2) }
        }
        // Each weight is turned, squared, and its fourth power and slope taken; what a matrix says of R1 is added up.
        let square = r1 ? Double(workload.shape.hiddenSize * workload.shape.hiddenSize) : 0
        var works = [Work](repeating: Work(), count: 1 + (owners.max() ?? 0))
        for block in part.blocks {
            let sites = Double(workload.shape.blocks[block].linears.count)
            let work = Work(
                products: rotation.weightOperations(block, r1: r1, r2: r2),
                values: 3 * Double(cost[block].linears) + sites * square)
            works[owners[block]] = works[owners[block]] + work
        }
        return works.max { $0.seconds(on: .assumedCore) < $1.seconds(on: .assumedCore) } ?? Work()
    }

    /// Of the stored rows that a step uses: each site rotated, and a soft range taken.
    ///
    /// - Parameters:
    ///   - values: that this takes as long as to write, of each: exponentials, and how the range depends on it.
    ///   - products: of a block's rows of so many tokens: of a row's n values n² are turned.
    private func rows(
        _ part: StagePart, values: Double, _ products: (_ block: Int, _ tokens: Double) -> Double
    ) -> Work {
        let tokens = workload.storedSequences.largestShare(replicas) * Double(workload.storedTokens)
        return part.blocks.reduce(Work()) { sum, block in
            let width = Double(workload.shape.blocks[block].quantizedWidth)
            return sum + Work(products: products(block, tokens), values: values * tokens * width)
        }
    }

    /// Before the first step, of the replica with most: the pass that stores activations, rotations to choose the start from,
    /// and, in turn, balancing.
    func beforeSteps(_ part: StagePart) -> Once {
        guard usesRotations else { return Once() }
        let passes = workload.storedSequences.largestShare(replicas) * Double(workload.storedSequences)
        var once = Once()
        once.own = passes * part.blocks.reduce(Work()) { $0 + cost.pass(workload, $1, sequences: 1) }
        // Whatever is learned of them. Nothing is multiplied by a gradient.
        let (starts, r1, r2) = (workload.config.rotation.starts, workload.hasR1, workload.hasR2)
        if starts > 1 {
            let start = rows(part, values: 2.5) { rotation.rowOperations($0, tokens: $1, r1: r1, r2: r2) / 2 }
            once.own = once.own + Double(starts) * start
        }
        if workload.config.rotation.balance {
            let balancing = QuantizeWork(workload)
            once.inTurn = balancing.share(replicas) * balancing.balancing(part)
        }
        return once
    }

    /// The Cayley steps of all rotations, for n³: each factorization (⅔), which every rank that makes rows of it takes for
    /// itself; n rows solved (2), and its test (1), which ranks can divide. Iterating (5 products, and the gradient's) cannot
    /// be.
    var retraction: (alike: Work, byRow: Work) {
        func cube(_ n: Int) -> Double { Double(n) * Double(n) * Double(n) }
        let (h, d) = (workload.shape.hiddenSize, workload.shape.headDimension ?? 0)
        let cubes =
            (workload.learnsR1 ? cube(h) : 0)
            + (workload.learnsR2 ? Double(workload.shape.layerCount) * cube(d) : 0)
        var (alike, byRow) = (Work(), Work(products: 2 * cubes))
        if workload.config.rotation.retraction == .exact {
            alike.solves = 2.0 / 3 * cubes
            byRow.solves = 2 * cubes
        } else {
            alike.products = 12 * cubes
        }
        // B = R·S, and RᵀB in the next step.
        if workload.config.rotation.momentum != 0 { alike.products += 4 * cubes }
        return (alike, byRow)
    }

    /// Bytes of all learned rotations.
    var rotationBytes: Double {
        let (h, d) = (Double(workload.shape.hiddenSize), Double(workload.shape.headDimension ?? 0))
        return 4 * ((workload.learnsR1 ? h * h : 0) + (workload.learnsR2 ? Double(workload.shape.layerCount) * d * d : 0))
    }
}

extension ModelCost {
    /// What a weight takes of each product, in written values.
    var valuesOfAWeight: Double {
        linears + head <= CalibratedRates.nearWeights
            ? CalibratedRates.valuesOfANearWeight : CalibratedRates.valuesOfAWeight
    }

    /// A forward pass of some sequences through a block: its linears, attention, and the values it writes.
    func pass(_ workload: Workload, _ index: Int, sequences: Int) -> Work {
        let (tokens, block) = (Double(sequences * workload.length), self[index])
        return Work(
            products: 2 * tokens * Double(block.linears),
            values: valuesOfAWeight * Double(block.linears) + tokens * block.values(length: workload.length))
            + attention(workload, index, sequences: sequences)
    }

    /// Of that, the products q·kᵀ and p·v. Blocks of query rows (`AttentionShape`) go together, so that half a block beyond the
    /// diagonal, and beyond a window, is computed besides.
    func attention(_ workload: Workload, _ index: Int, sequences: Int) -> Work {
        guard let heads = workload.shape.blocks[index].heads else { return Work() }
        let (length, width) = (workload.length, heads.query * heads.dimension)
        let edges = heads.window.map { $0 < length } ?? false ? 2 : 1
        let rows = min(length, AttentionShape.block(length: length))
        let beyond = Double(sequences * length * width) * Double(edges * (rows - 1))
        let products = self[index].attention(sequences: sequences, length: length)
        let time = CalibratedRates.attentionSlowdown * (products + beyond)
        return Work(products: 2 * products, overhead: 2 * (time - products))
    }
}

extension Architecture.Block {
    /// Values of a token at the sites that R1 or R2 turns and a quantizer rounds.
    var quantizedWidth: Int { residualInputs.reduce(width(.value) + width(.outputInput)) { $0 + width($1) } }
}
