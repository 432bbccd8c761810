internal import Autograd
package import Collectives
package import Evaluation
package import Models
package import Parallelism
package import TensorCore

/// How a network is trained.
package struct TrainerSettings: Sendable {
    package var rule: UpdateRule
    package var weightDecay: Float
    /// Largest norm of all gradients together; nil for no limit.
    package var clipNorm: Double?
    package var isSharded: Bool
    package var microBatches: MicroBatches
    package var recompute: Bool
    /// Size of the buckets in which gradients are summed over ranks.
    package var bucketBytes: Int

    package init(
        rule: UpdateRule, weightDecay: Float, clipNorm: Double?, isSharded: Bool, microBatches: MicroBatches, recompute: Bool,
        bucketBytes: Int = BucketLayout.defaultBytes
    ) {
        self.rule = rule
        self.weightDecay = weightDecay
        self.clipNorm = clipNorm
        self.isSharded = isSharded
        self.microBatches = microBatches
        self.recompute = recompute
        self.bucketBytes = bucketBytes
    }
}

/// Trains all parameters of a network: gradients of this rank's share of a batch, summed over the replicas during the backward
/// pass, clipped, and taken by the optimiser on every rank alike.
package final class NetworkTrainer<Sites: SiteTransform, World: Communicator> {
    /// The masters. What a job changes between steps (ternary layers) it changes here.
    package var weights: ModelWeights
    private let settings: TrainerSettings
    private let model: Llama
    private let sites: Sites
    /// What the forward pass uses in the place of a linear layer's master; the gradient passes straight through (Bengio et al.,
    /// arXiv 1308.3432).
    private let view: ((Tensor) -> Tensor)?
    /// The network whose predictions are learned; nil learns the text's tokens.
    private let teacher: Network<Untouched>?
    private let world: World
    private let buckets: GradientBuckets<World>
    private var optimizer: Optimizer

    package init(
        _ settings: TrainerSettings, _ model: Llama, _ parameters: LlamaParameters<Tensor>, sites: Sites,
        view: ((Tensor) -> Tensor)? = nil, teacher: Network<Untouched>? = nil, over world: World
    ) {
        self.settings = settings
        self.model = model
        self.sites = sites
        self.view = view
        self.teacher = teacher
        self.world = world
        weights = ModelWeights(parameters)
        let layout = BucketLayout(counts: weights.tensors.map(\.count), bytes: settings.bucketBytes)
        buckets = GradientBuckets(layout, over: world)
        optimizer = Optimizer(
            settings.rule, decay: settings.weightDecay, layout, isSharded: settings.isSharded, over: world)
    }

    /// Bytes this rank hands over in a step.
    package var bytesPerStep: Int { buckets.bytesPerStep + optimizer.bytesPerStep }
    package var optimizerStateBytes: Int { optimizer.stateBytes }

    /// One step on this rank's `sequences` (of equal lengths) of a global batch of `globalSequences`. Collective.
    ///
    /// - Throws: ``MPIError``; ``TrainingError/diverged(step:)`` where the loss or the gradient is not finite.
    package func step(
        _ index: Int, _ sequences: [[Int32]], globalSequences: Int, learningRate: Float
    ) throws -> StepResult {
        let (gradients, loss) = try gradients(sequences, globalSequences: globalSequences)
        let norm = gradientNorm(gradients)
        guard loss.isFinite, norm.isFinite else { throw TrainingError.diverged(step: index) }
        try optimizer.step(
            &weights, gradients: gradients, learningRate: learningRate,
            gradientScale: Float(clippingFactor(norm: norm, limit: settings.clipNorm)), over: world)
        return StepResult(loss: loss, gradientNorm: norm, communicationSeconds: buckets.waitSeconds)
    }

    /// The network as it is evaluated: masters as the forward pass sees them.
    package var network: Network<Sites> {
        Network(
            model: model,
            parameters: weights.parameters { index, tensor in Variable(constant: seen(index, tensor)) }, sites: sites)
    }

    private func seen(_ index: Int, _ tensor: Tensor) -> Tensor {
        guard let view, weights.isLinear(index) else { return tensor }
        return view(tensor)
    }

    /// ∂loss/∂weights of the global batch's mean loss, a tensor per bucket, and that loss; the same on all ranks. Collective.
    func gradients(_ sequences: [[Int32]], globalSequences: Int) throws -> ([Tensor], loss: Double) {
        buckets.begin()
        var sum = 0.0
        if let length = sequences.first?.count {
            let counted = globalSequences * (teacher == nil ? length - 1 : length)
            let network = Network(
                model: model,
                parameters: weights.parameters { index, tensor in buckets.parameter(seen(index, tensor), at: index) }, sites: sites)
            for range in settings.microBatches.ranges(sequences.count) {
                sum += pass(Array(sequences[range]), network, isLast: range.upperBound == sequences.count, counted: counted)
            }
            sum /= Double(counted)
        }
        let gradients = try buckets.finish()
        return (gradients, try world.allReduce(sum, .sum))
    }

    /// Forward and backward on one micro-batch. Returns its summed loss.
    private func pass(_ batch: [[Int32]], _ network: Network<Sites>, isLast: Bool, counted: Int) -> Double {
        let tape = Tape()
        let x = network.hiddenStates(batch, recompute: settings.recompute, on: tape)
        let (loss, sum) = tape.languageModelLoss(
            x, head: network.parameters.logitWeight, target(batch), scale: 1 / Float(counted))
        buckets.isLastPass = isLast
        tape.backward(from: loss, gradient: Tensor([1], []))
        return sum
    }

    private func target(_ batch: [[Int32]]) -> LogitTarget {
        guard let teacher else { return .tokens(batch.flatMap { $0.dropFirst() + [-1] }) }
        return .teacher(
            hidden: teacher.hiddenStates(batch, on: Tape(recording: false)).value, head: teacher.parameters.logitWeight.value)
    }
}
