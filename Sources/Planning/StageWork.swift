internal import Configuration
internal import Models
internal import Rotation

/// Some layers of a model, and its ends where the first or the last layer is among them.
package struct StagePart: Sendable, Equatable {
    package var layers: Range<Int>
    package var isFirst: Bool
    package var isLast: Bool

    package init(_ layers: Range<Int>, of shape: Int) {
        self.layers = layers
        isFirst = layers.lowerBound == 0
        isLast = layers.upperBound == shape
    }
}

/// What a stage computes for a micro-batch, and once in a step.
struct StageWork {
    private let workload: Workload
    private let cost: ModelCost
    private let rotation: RotationCost
    private let sequences: Int
    private var tokens: Double { Double(sequences * workload.length) }

    /// - Parameters:
    ///   - sequences: of a micro-batch.
    ///   - replicaSequences: of a step, of one replica.
    init(_ workload: Workload, sequences: Int, replicaSequences: Int) {
        self.workload = workload
        self.sequences = sequences
        cost = ModelCost(workload.shape)
        rotation = RotationCost(workload.shape, workload.rotationPlan(replicas: workload.sequences / max(1, replicaSequences)))
    }

    private var usesRotations: Bool { workload.job == .rotate }

    // MARK: A micro-batch

    func forward(_ part: StagePart) -> Work {
        guard workload.runsNetwork else { return Work() }
        var work = part.layers.reduce(Work()) { $0 + blockForward($1) }
        if part.isFirst { work = work + Work(products: usesRotations ? 2 * tokens * rotation.embedding.perToken : 0) }
        if part.isLast { work = work + Double(workload.passes) * headPass }
        return work
    }

    private func blockForward(_ block: Int) -> Work {
        let cost = cost[block]
        let network = Work(
            products: 2 * (tokens * Double(cost.linears) + cost.attention(sequences: sequences, length: workload.length)),
            values: tokens * cost.values(length: workload.length))
        var work = Double(workload.passes) * network
        if workload.quantizesActivations { work.values += tokens * quantizerValues(block) }
        // Half of what is rotated in activations is rotated forward, the other half backward.
        if usesRotations { work.products += tokens * rotation.block(block).perToken }
        return work
    }

    /// Values that a block's quantizers and online transforms write, per token.
    private func quantizerValues(_ block: Int) -> Double {
        let block = workload.shape.blocks[block]
        let (query, key, down) = (block.width(.outputInput), block.width(.key), block.width(.downInput))
        let inputs = block.residualInputs.reduce(0) { $0 + block.width($1) }
        return Double(inputs + query + 2 * key + down) + Double(query + key + down)
    }

    /// Logits and what is made of them.
    private var headPass: Work {
        Work(products: 2 * tokens * Double(cost.head), values: 2 * tokens * Double(workload.shape.vocabularySize))
    }

    func backward(_ part: StagePart) -> Work {
        guard workload.learns, workload.runsNetwork else { return Work() }
        var work = part.layers.reduce(Work()) { $0 + blockBackward($1) }
        if part.isLast {
            // The logits' gradient goes to the hidden states and, where it learns, to the head.
            work.products += 2 * tokens * Double(cost.head) * (workload.trainsWeights ? 2 : 1)
            if usesRotations { work.products += 2 * tokens * rotation.head.perToken }
        }
        return work
    }

    private func blockBackward(_ block: Int) -> Work {
        let cost = cost[block]
        // Attention's scores are formed again: five products for the two of the forward pass.
        let attention = 2.5 * cost.attention(sequences: sequences, length: workload.length)
        let linears = tokens * Double(cost.linears) * (workload.needsWeightGradients ? 2 : 1)
        let gradients = tokens * rotation.gradients(block, r1: workload.learnsR1, r2: workload.learnsR2)
        let quantizers = workload.quantizesActivations ? 2 * quantizerValues(block) : 0
        let values = tokens * (2 * cost.values(length: workload.length) + quantizers)
        var work = Work(products: 2 * (linears + attention + gradients), values: values)
        if usesRotations { work.products += tokens * rotation.block(block).perToken }
        // Gradients of a micro-batch are added to those before it.
        if workload.trainsWeights { work.values += Double(cost.parameters) }
        if workload.recomputes { work = work + blockForward(block) }
        return work
    }

    // MARK: Once a step

    /// - Parameters:
    ///   - replicas: ranks that share this stage's ternary layers.
    ///   - decayed: share of the optimizer's work a rank does: 1, or less where it is sharded.
    func once(_ part: StagePart, replicas: Int) -> Work {
        var work = Work()
        if usesRotations {
            work = work + retraction
            guard workload.runsNetwork else { return work + 1 / Double(replicas) * withoutNetwork(part) }
            work.products += 2 * part.layers.reduce(0) { $0 + rotation.block($1).once }
            if part.isFirst { work.products += 2 * rotation.embedding.once }
            if part.isLast { work.products += 2 * rotation.head.once }
        }
        if workload.roundsWeights {
            let linears = part.layers.reduce(0) { $0 + Double(cost[$1].linears) }
            work.searches += linears
            // EᵀG or E·Gᵀ for each weight that carries R1.
            if workload.learnsR1 { work.products += 2 * linears * Double(workload.shape.hiddenSize) }
        }
        if workload.trainsWeights {
            let share = workload.config.optimizer.shard ? 1 / Double(replicas) : 1
            // Emptying the gradients, their norm, and the update of weights and moments.
            work.values += Double(parameters(part)) * (2 + 4 * share)
        }
        if workload.isTernary { work = work + 1 / Double(replicas) * part.layers.reduce(Work()) { $0 + ternaryBlock($1) } }
        return work
    }

    /// A step on stored rows or on the weights, and its share of the pass that stores, over all replicas.
    private func withoutNetwork(_ part: StagePart) -> Work {
        let (r1, r2) = (workload.learnsR1, workload.learnsR2)
        guard workload.storedSequences > 0 else {
            return Work(products: part.layers.reduce(0) { $0 + rotation.weightOperations($1, r1: r1, r2: r2) })
        }
        let stored = Double(workload.storedSequences * workload.length) / Double(workload.steps)
        return part.layers.reduce(Work()) { sum, block in
            let (tokens, cost) = (Double(workload.storedTokens), cost[block])
            // Of a row's n values, n² are turned and n² multiplied by the gradient; a soft range takes the exponential of each twice.
            let rows = rotation.rowOperations(block, tokens: tokens, r1: r1, r2: r2)
            let widths = Double(workload.shape.blocks[block].quantizedWidth)
            return sum
                + Work(
                    products: rows + 2 * stored * Double(cost.linears),
                    values: 4 * tokens * widths + stored * cost.values(length: workload.length))
        }
    }

    private func parameters(_ part: StagePart) -> Int {
        part.layers.reduce(0) { $0 + cost[$1].parameters } + (part.isFirst ? cost.head : 0) + (part.isLast ? cost.head : 0)
    }

    /// Every rank takes the Cayley steps of all rotations: n³ for each factorization (⅔), n rows solved (2), and its test (1).
    private var retraction: Work {
        func cube(_ n: Int) -> Double { Double(n) * Double(n) * Double(n) }
        let (h, d) = (workload.shape.hiddenSize, workload.shape.headDimension ?? 0)
        var work = Work()
        for (learns, cubes) in [
            (workload.learnsR1, cube(h)), (workload.learnsR2, Double(workload.shape.blocks.count) * cube(d)),
        ] where learns {
            work.solves += 8.0 / 3 * cubes
            work.products += 2 * cubes
        }
        return work
    }

    /// Projecting one layer's linears: in training, scales at each step (normal equations of k components, 2k²(m+n) and a few
    /// times as much to solve them) and vectors at some; after it, everything at once. Rough, since it depends on the weights.
    private func ternaryBlock(_ block: Int) -> Work {
        let every = Double(workload.config.ternary.adaptEvery)
        return workload.ternaryLayers(block).reduce(Work()) { sum, layer in
            let (m, n, k) = (Double(layer.rows), Double(layer.columns), Double(layer.components))
            guard workload.job == .qat else { return sum + Work(products: 40 * k * k * (m + n), values: 30 * k * m * n) }
            return sum + Work(products: 5 * k * k * (m + n), values: every > 0 ? 3 * k * m * n / every : 0)
        }
    }
}

extension Architecture.Block {
    /// Values of a token at the sites that R1 or R2 turns and a quantizer rounds.
    var quantizedWidth: Int { residualInputs.reduce(width(.value) + width(.outputInput)) { $0 + width($1) } }
}
