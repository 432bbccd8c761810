internal import Autograd
internal import Models
internal import Rotation

/// Bytes a stage needs at its fullest moment: the largest of a training step, an evaluation and the end of the run.
struct StageMemory {
    /// Program, libraries, their buffers and the run's tokens.
    static let process = 44 << 20
    /// Gaps between buffers of many sizes.
    static let slack = 1.04

    private let workload: Workload
    private let cost: LlamaCost
    private let part: StagePart
    private let shape: LlamaConfiguration

    init(_ workload: Workload, _ part: StagePart) {
        self.workload = workload
        self.part = part
        shape = workload.shape
        cost = LlamaCost(shape)
    }

    /// - Parameters:
    ///   - sequences: of a micro-batch.
    ///   - alive: micro-batches between their forward and backward pass.
    ///   - sides: where R1 is merged into the weights in training.
    ///   - replicas: ranks that share the optimiser's state where it is sharded.
    func bytes(sequences: Int, alive: Int, sides: RotatedSides, replicas: Int) -> Int {
        let step = weightsInStep(sides, replicas: replicas) + max(activations(sequences: sequences, alive: alive), retraction)
        let values = max(step, weightsInEvaluation(sides) + passing(sequences: 1))
        return Self.process + Int(Self.slack * 4 * values)
    }

    // MARK: Weights, in values

    private var linears: Double { Double(part.layers.count * cost.layerLinears) }
    private var embedding: Double { part.isFirst ? Double(cost.head) : 0 }
    private var head: Double { part.isLast ? Double(cost.head) : 0 }

    /// Every parameter of the stage once; an embedding that may stay in bfloat16 counts in full, since only its file tells. Tied, the
    /// matrix is held once where both ends are one stage's.
    private var parameters: Double {
        let ends = shape.tiedEmbeddings && part.isFirst && part.isLast ? embedding : embedding + head
        return Double(part.layers.count * cost.layerParameters) + ends
    }

    /// Whether weights rest in bfloat16: half a value each, and float32 copies one at a time.
    private var storesHalf: Bool { workload.config.model.storage == .bf16 }

    /// The full-precision network with norms fused and R4 in the down projections. A fused head is no longer tied.
    private var rotationBase: Double {
        if storesHalf { return parameters / 2 + widened }
        return Double(part.layers.count * cost.layerParameters) + embedding + head
    }

    /// One matrix of each shape in float32, twice where it is rotated by R2.
    private var widened: Double {
        let (h, d) = (Double(shape.hiddenSize), Double(shape.headDimension))
        return 2 * h * d * Double(shape.heads + shape.keyValueHeads) + h * Double(shape.intermediateSize) + head
    }

    private func weightsInStep(_ sides: RotatedSides, replicas: Int) -> Double {
        switch workload.job {
        case .rotate:
            let rounded = workload.roundsWeights ? 2 * linears : 0
            let (h, d) = (Double(shape.hiddenSize), Double(shape.headDimension))
            // R1, and packed its skew gradient of the last step and each layer's in double precision.
            let rotations = Double(2 + part.layers.count) * h * h + 4 * Double(shape.layers) * d * d
            // What is rounded anew is rotated as weights, which no longer fit in half.
            let widened = storesHalf && workload.roundsWeights ? embedding + head : 0
            return rotationBase + merged(sides) + widened + rounded + rotations
        case .train, .qat:
            let states = workload.config.training.optimizer == .adamw ? 2.0 : 1.0
            let shared = workload.config.optimizer.shard ? states / Double(replicas) : states
            // Masters, gradients, states; the network as read stays for comparison; the largest gradients in the making.
            let largest = max(head, linears > 0 ? Double(shape.hiddenSize * shape.intermediateSize) : 0)
            return parameters * (3 + shared) + (workload.roundsWeights ? linears : 0) + ternaryState + 2 * largest
        case .ptq: return 2 * parameters + ternaryState
        case .eval: return storesHalf ? parameters / 2 + widened : parameters
        }
    }

    /// The Cayley step's system and solution in double precision and its matrices, when activations are gone.
    private var retraction: Double { workload.learnsR1 ? 7 * Double(shape.hiddenSize * shape.hiddenSize) : 0 }

    /// Copies of the matrices that a step rotates: those with R1 on a side in the weights; v and o always, with R2.
    private func merged(_ sides: RotatedSides) -> Double {
        guard !storesHalf else { return 0 }
        let (h, f) = (Double(shape.hiddenSize), Double(shape.intermediateSize))
        let (query, key) = (Double(shape.heads * shape.headDimension), Double(shape.keyValueHeads * shape.headDimension))
        var layer = h * (query + key)
        if sides.attentionInput { layer += h * (query + key) }
        if sides.feedForwardInput { layer += 2 * h * f }
        if sides.feedForwardOutput { layer += h * f }
        return Double(part.layers.count) * layer + (sides.embedding ? embedding : 0) + (sides.head ? head : 0)
    }

    /// Of each ternary layer of the stage, the values of its matrix and of its factors, and of what decomposing it takes: both
    /// several times, and the factors' Gram matrix with its Cholesky factor in double precision.
    private var ternaryLayers: [(result: Double, making: Double)] {
        guard workload.isTernary else { return [] }
        let (shapes, names) = (workload.ternaryLayers, shape.linears.map(\.name))
        return part.layers.flatMap { index in
            zip(shapes, names[(index * shapes.count)...]).compactMap { layer, name in
                guard workload.config.ternary.layers.matches(name) else { return nil }
                let result = Double(layer.rows * layer.columns + layer.components * (layer.rows + layer.columns))
                return (result, 4 * result + 4 * Double(layer.components * layer.components))
            }
        }
    }

    /// Rests and factors of all layers in training; else factors kept at no more than two bits an entry (one and the share of
    /// non-zeros, which is not known beforehand). And one layer in the making.
    private var ternaryState: Double {
        let sum = ternaryLayers.reduce(0) { $0 + $1.result }
        return (ternaryLayers.map(\.making).max() ?? 0) + (workload.job == .ptq ? sum / 16 : sum)
    }

    /// Beside the network itself, the one with rotations merged, on all sides where its weights are rounded.
    private func weightsInEvaluation(_ sides: RotatedSides) -> Double {
        let isRounded = workload.config.quantization.weights.bits < 16
        let isRotated = workload.job == .rotate || workload.config.rotation.path != nil
        guard workload.job == .rotate || workload.job == .eval else { return 0 }
        let base = isRotated ? rotationBase : weightsInStep(sides, replicas: 1)
        let copy = isRounded ? linears + (storesHalf ? embedding + head : 0) : 0
        return base + copy + (isRotated ? merged(isRounded ? .all : sides) : 0)
    }

    // MARK: Activations, in values

    private func activations(sequences: Int, alive: Int) -> Double {
        guard workload.learns else { return passing(sequences: sequences) }
        let tokens = Double(sequences * workload.length)
        let layers = Double(part.layers.count)
        let input = Double(shape.hiddenSize)
        let layer = Double(cost.layerActivations(weightGradients: workload.trainsWeights)) + quantizers
        // Recomputing, a layer keeps its input, unless that is tokens; one at a time has all the rest.
        let kept = workload.recomputes ? Double(alive) * (part.isFirst ? layers - 1 : layers) * input + layer : Double(alive) * layers * layer
        return tokens * kept + passing(sequences: sequences)
    }

    /// What the quantisers of a layer keep per token: input and output where a gradient of R1 or R2 is gathered, the input elsewhere.
    private var quantizers: Double {
        guard workload.quantizesActivations else { return 0 }
        let (query, key) = (shape.heads * shape.headDimension, shape.keyValueHeads * shape.headDimension)
        return Double(4 * shape.hiddenSize + 2 * query + 2 * key + key + shape.intermediateSize)
    }

    /// What a layer holds while it computes, and a block of logits, twice where they are compared.
    private func passing(sequences: Int) -> Double {
        let tokens = sequences * workload.length
        let widest = Double(3 * shape.intermediateSize + 4 * shape.hiddenSize)
        let logits = part.isLast ? Double(2 * min(tokens, LogitBlock.rows(vocabulary: shape.vocabularySize)) * shape.vocabularySize) : 0
        return Double(tokens) * (widest + (part.isLast ? Double(2 * shape.hiddenSize) : 0)) + logits
    }
}
