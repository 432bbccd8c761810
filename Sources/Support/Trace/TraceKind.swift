extension Trace {
    /// What a span was spent on.
    package enum Kind: UInt8, CaseIterable, Sendable, BitwiseCopyable {
        /// A training step; what it consists of lies within it.
        case step
        case data
        case rotateWeights, quantizeWeights
        /// Passes of a micro-batch through this rank's stage; ``loss`` lies within ``forward``, and ``teacher`` where there is
        /// one stage.
        case forward, teacher, loss, backward
        /// Products of weights' gradients that a backward pass put off.
        case weightGradients
        /// Gradients of the rotations from quantized weights.
        case weightTerms
        /// Gradients brought together: over layers, stages and replicas.
        case gradients
        case cayley, optimizer
        /// New factors of a layer, the same for another rank that has more to do, and what the bus does with all ranks'
        /// factors.
        case transition, takenOver, exchange
        /// A look for messages. It does not wait, but where none has come it gives the core to other ranks: it counts as a
        /// wait.
        case poll
        /// Calls that may wait for other ranks.
        case send, receive, wait, allReduce, broadcast, allGather, barrier, split
        case metrics, checkpoint
        case readModel, draw, evaluate, calibrate, decompose, writeModel

        /// What the timeline calls it.
        package var label: String {
            switch self {
            case .rotateWeights: "rotate weights"
            case .quantizeWeights: "quantize weights"
            case .loss: "loss and head"
            case .weightGradients: "weight gradients"
            case .weightTerms: "rotation gradients of weights"
            case .takenOver: "transition for another rank"
            case .cayley: "Cayley step"
            case .allReduce: "all-reduce"
            case .allGather: "all-gather"
            case .readModel: "read model"
            case .draw: "draw text"
            case .writeModel: "write model"
            default: "\(self)"
            }
        }

        /// A few kinds of kinds, by which a timeline can be searched.
        package var category: String {
            switch self {
            case .step: "step"
            case .data, .draw: "data"
            case .rotateWeights, .quantizeWeights, .forward, .teacher, .loss, .backward, .weightGradients, .weightTerms,
                .cayley, .optimizer, .evaluate, .calibrate, .decompose:
                "compute"
            case .transition, .takenOver, .exchange: "transition"
            case .send: "send"
            case .poll, .receive, .wait: "wait"
            case .gradients, .allReduce, .broadcast, .allGather, .barrier, .split: "collective"
            case .metrics, .readModel, .writeModel: "file"
            case .checkpoint: "checkpoint"
            }
        }
    }
}
