internal import Autograd
package import Collectives
package import Models
package import Parallelism
package import Runs
internal import Support
package import TensorCore

/// Trains all parameters of this rank's stage of a network. Gradients of the replica's share of a batch are summed over the
/// replicas of the stage during the backward pass and clipped by the norm of the whole network's gradient. The optimizer then
/// takes the same step on every replica.
///
/// Any number of stages gives the bits of one rank: micro-batches are added in the same order, the norm is summed in the order
/// of the model's parameters, and the two gradients of a tied embedding, as a table and as the head, are each summed separately
/// and then added.
package final class NetworkTrainer<Hooks: HookTransform, World: Communicator> {
    /// The stage's master weights. A job that changes weights between steps (ternary layers) changes them here.
    package var weights: ModelWeights<Tensor>
    private let settings: TrainerSettings
    private let model: Model
    private let hooks: Hooks
    /// Makes the weight that the forward pass uses from a linear layer's master weight; the gradient passes straight through
    /// (Bengio et al., arXiv 1308.3432).
    private let weightTransform: ((Tensor) -> Tensor)?
    private let passes: StagePasses<IdentityHooks>
    private let groups: ParallelGroups<World>
    private let buckets: GradientBuckets<World>
    private let tied: TiedEmbedding
    /// The table of tokens, and the row of it that gets no gradient from being looked up (the padding token's). If the table is
    /// also the head, the head's gradient reaches that row.
    private let padding: (table: Int, row: Int)?
    private var optimizer: Optimizer
    /// Time of the pipeline's passes, and of waiting during them.
    package private(set) var timing = PipelineTiming()

    /// Collective.
    ///
    /// - Parameters:
    ///   - parameters: parameters of this rank's stage.
    ///   - teacher: this stage of the network whose predictions are learned; nil learns the text's tokens.
    package init(
        _ settings: TrainerSettings, _ model: Model, _ parameters: Parameters<Tensor>, hooks: Hooks,
        weightTransform: ((Tensor) -> Tensor)? = nil, teacher: Network<IdentityHooks>? = nil, over groups: ParallelGroups<World>
    ) throws(MPIError) {
        self.settings = settings
        self.model = model
        self.hooks = hooks
        self.weightTransform = weightTransform
        self.groups = groups
        passes = StagePasses(
            hidden: model.architecture.hiddenSize, microBatches: settings.microBatches, schedule: settings.schedule,
            recompute: settings.recompute, precision: settings.precision, teacher: teacher)
        weights = ModelWeights(parameters)
        tied = try TiedEmbedding(parameters, weights, groups.pipeline)
        let table = parameters.isFirst ? weights.embedding : nil
        padding = table.flatMap { table in model.architecture.paddingRow.map { (table, $0) } }
        let counts = weights.tensors.map(\.count)
        // For an embedding tied on one stage, the head's gradient comes last, so that the places of the weights do not change.
        buckets = GradientBuckets(
            BucketLayout(counts: counts + tied.extraCounts, bytes: settings.bucketBytes), over: groups.replicas)
        optimizer = Optimizer(
            settings.rule, decay: settings.weightDecay, BucketLayout(counts: counts, bytes: settings.bucketBytes),
            isSharded: settings.isSharded, over: groups.replicas)
    }

    /// One step on `batch` (sequences of equal lengths), the share of this rank's replica of `globalSequences`. Collective.
    ///
    /// - Throws: ``MPIError``; ``TrainingError/diverged(step:)`` where the loss or the gradient is not finite, on all ranks
    ///   alike.
    package func step(
        _ index: Int, _ batch: ReplicaBatch, globalSequences: Int, learningRate: Float
    ) throws -> StepResult {
        var (gradients, loss) = try gradients(batch, globalSequences: globalSequences)
        let norm = try Trace.span(.gradients) { () throws(MPIError) in try gradientNorm(gradients) }
        guard loss.isFinite, norm.isFinite else { throw TrainingError.diverged(step: index) }
        try Trace.span(.optimizer) { () throws(MPIError) in
            try optimizer.step(
                &weights, gradients: &gradients, learningRate: learningRate,
                gradientScale: Float(clippingFactor(norm: norm, limit: settings.clipNorm)), over: groups.replicas)
        }
        buckets.reuse(gradients)
        return StepResult(loss: loss, gradientNorm: norm, communicationSeconds: buckets.waitSeconds)
    }

    /// The master weights and the optimizer's state.
    package var state: TrainingState {
        var state = optimizer.memory(weights.names)
        for (name, tensor) in zip(weights.names, weights.tensors) { state.tensors[name] = tensor }
        return state
    }

    /// Continues from a state of the same model and configuration.
    package func restore(_ state: TrainingState) throws(CheckpointError) {
        for (index, name) in weights.names.enumerated() { weights[index] = try state.tensor(name, weights[index].shape) }
        try optimizer.restore(state, weights.names)
    }

    /// The stage for evaluation, with the weights that the forward pass uses.
    package var network: Network<Hooks> {
        Network(
            model: model,
            parameters: weights.parameters { index, tensor in Variable(constant: seen(index, tensor)) }, hooks: hooks)
    }

    private func seen(_ index: Int, _ tensor: Tensor) -> Tensor {
        guard let weightTransform, weights.isLinear(index) else { return tensor }
        return weightTransform(tensor)
    }

    /// ∂loss/∂weights of the global batch's mean loss, a tensor per bucket, the same on all replicas of the stage; and that
    /// loss, the same on all ranks. Collective.
    func gradients(_ batch: ReplicaBatch, globalSequences: Int) throws -> ([Tensor], loss: Double) {
        let count = settings.microBatches.ranges(batch.sequences.count).count
        Trace.span(.gradients) { buckets.begin(passes: count) }
        var loss = 0.0
        if let length = batch.sequences.first?.count {
            let counted = globalSequences * (passes.teacher == nil ? length - 1 : length)
            let views = Trace.span(.quantizeWeights) { weights.tensors.indices.map { seen($0, weights[$0]) } }
            let result = try passes.run(batch, counted: counted, groups) { student(views) }
            timing += result.timing
            loss = result.sum / Double(counted)
        }
        return try Trace.span(.gradients) { () throws(MPIError) in
            var gradients = try buckets.finish()
            try tied.join(&gradients, buckets.layout, groups.pipeline)
            return (gradients, try groups.sumFromLastStage([loss])[0])
        }
    }

    /// The network for one micro-batch, with leaves of its own.
    private func student(_ views: [Tensor]) -> Network<Hooks> {
        var parameters = weights.parameters { index, _ in
            buckets.parameter(views[index], at: index, frozenRow: index == padding?.table ? padding?.row : nil)
        }
        if let embedding = tied.tableAndHead {
            parameters.untie(model.architecture.head, head: buckets.parameter(views[embedding], at: weights.count))
        }
        return Network(model: model, parameters: parameters, hooks: hooks)
    }

    /// ‖g‖ over all parameters of the network: the squares of each are summed, and then these sums in the checkpoint's order,
    /// whichever stages hold them. Collective.
    private func gradientNorm(_ gradients: [Tensor]) throws(MPIError) -> Double {
        let own = weights.tensors.indices.reversed().filter { $0 != tied.copy }.map {
            buckets.layout.squaredNorm(of: $0, in: gradients)
        }
        return try groups.pipeline.allGather(own).reduce(0, +).squareRoot()
    }
}
