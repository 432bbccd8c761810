internal import Collectives
internal import HuggingFace
internal import TensorCore
internal import TernarySVD
internal import TransitionBus

/// The ternary layers of a network in training: decomposed once, then projected anew after every optimiser step.
///
/// Each layer has an owner that computes its transition and publishes it at once; every rank, the owner too, applies what was
/// published, so all end a step with the same bits. The sync step compares a digest of all layers' W, ρ, U, s and V.
final class TernaryTraining<World: Communicator> {
    /// What a step's transitions took.
    struct StepReport {
        var seconds: Double
        /// This rank's own layers.
        var computeSeconds: Double
        var branches: BranchCounts
    }

    struct BranchCounts {
        var refresh = 0, prune = 0, full = 0

        mutating func add(_ branch: TransitionBranch) {
            switch branch {
            case .refresh: refresh += 1
            case .prune: prune += 1
            case .full: full += 1
            }
        }

        /// Of all ranks of a communicator. Collective.
        func sum(over world: some Communicator) throws(MPIError) -> BranchCounts {
            var counts = [Int64(refresh), Int64(prune), Int64(full)]
            try world.allReduce(&counts, .sum)
            return BranchCounts(refresh: Int(counts[0]), prune: Int(counts[1]), full: Int(counts[2]))
        }

        var json: JSONValue { ["refresh": .integer(refresh), "prune": .integer(prune), "full": .integer(full)] }
    }

    private struct Layer {
        /// Checkpoint name without `.weight`.
        let name: String
        /// Of its weight among the model's.
        let index: Int
        let codec: TransitionCodec
        let owner: Int
        /// Its weight lives in the model between steps.
        var state: TernaryLayerState?
        /// Used by the owner.
        var adaptation = Adaptation(budget: 0)
        /// Of transitions, the first decomposition not among them.
        var branches = BranchCounts()
    }

    private let transition: LayerTransition
    private let settings: TernarySettings
    private let world: World
    private let exchange: any TransitionExchange
    /// Owns the sockets' context.
    private let messaging: MessagingContext
    private var layers: [Layer]
    /// Transitions begun, the first decomposition being number 0.
    private var step = 0
    /// Bytes of U, s, V, W and ρ as float32, all layers: what the reference broadcasts; over all steps.
    private(set) var referenceBytes = 0
    /// Bytes published by this rank in the steps after the first decomposition.
    var publishedBytes: Int { exchange.statistics.bytesPublished - initialBytes }
    var replays: Int { exchange.statistics.replays }
    private var initialBytes = 0

    /// Connects the ranks. Collective.
    ///
    /// - Parameter indices: which of the model's weights become ternary.
    init(_ weights: ModelWeights, indices: [Int], _ transition: LayerTransition, _ config: RunConfig, over world: World) throws {
        self.transition = transition
        settings = config.ternary
        self.world = world
        let owners = GreedyDispatch.owners(sizes: indices.map { weights[$0].count }, ranks: world.size)
        layers = zip(indices, owners).map { index, owner in
            let weight = weights[index]
            return Layer(
                name: weights.layerName(index), index: index,
                codec: TransitionCodec(rows: weight.rows, columns: weight.columns), owner: owner)
        }
        let codecs = layers.map(\.codec)
        var bus = BusConfiguration(payloadLimits: codecs.map(\.limit)) { transition in
            _ = try codecs[transition.layer].decode(transition.codec, transition.payload)
        }
        bus.transport = config.bus.transport
        bus.configurationHash = Digests.sha256(Array(config.yaml.utf8))
        messaging = try MessagingContext()
        exchange = try bus.open(world, messaging)
    }

    /// Decomposes every layer for the first time; the weights become what the factors stand for. Collective.
    func begin(_ weights: inout ModelWeights) throws {
        _ = try project(&weights)
        initialBytes = exchange.statistics.bytesPublished
    }

    /// Projects every layer anew, after an optimiser step. Collective.
    func update(_ weights: inout ModelWeights) throws -> StepReport {
        let report = try project(&weights)
        referenceBytes += layers.reduce(0) { sum, layer in
            let (m, n, k) = (layer.codec.rows, layer.codec.columns, layer.state?.s.count ?? 0)
            return sum + MemoryLayout<Float>.stride * ((m + n + 1) * k + 2 * m * n)
        }
        return report
    }

    private func project(_ weights: inout ModelWeights) throws -> StepReport {
        let clock = ContinuousClock()
        let start = clock.now
        try exchange.beginStep(step, owners: layers.map(\.owner))
        for (number, layer) in layers.enumerated() {
            let weight = weights[layer.index]
            layers[number].state?.weight = weight
            guard layer.owner == world.rank else { continue }
            try exchange.publish(compute(number, weight))
            try exchange.poll()
        }
        let computed = clock.now
        var branches = BranchCounts()
        for transition in try exchange.collect() {
            let branch = try apply(transition, weights[layers[transition.layer].index])
            branches.add(branch)
            if step > 0 { layers[transition.layer].branches.add(branch) }
        }
        try exchange.finishStep(stateDigest: digest)
        for (number, layer) in layers.enumerated() {
            guard let weight = layer.state?.weight else { continue }
            layers[number].state?.weight = Tensor(zeros: [0])
            weights[layer.index] = weight
        }
        step += 1
        return StepReport(
            seconds: (clock.now - start) / .seconds(1), computeSeconds: (computed - start) / .seconds(1), branches: branches)
    }

    /// The transition of one of this rank's layers.
    private func compute(_ index: Int, _ weight: Tensor) throws -> Transition {
        let layer = layers[index]
        var adaptation = layer.adaptation
        let update = try project(layer.state, weight, name: layer.name, &adaptation)
        layers[index].adaptation = adaptation
        let (form, payload) = try layer.codec.encode(update, oldRank: layer.state?.s.count ?? 0, name: layer.name)
        return Transition(layer: index, codec: form.rawValue, payload: payload)
    }

    private func project(
        _ state: TernaryLayerState?, _ weight: Tensor, name: String, _ adaptation: inout Adaptation
    ) throws -> TransitionUpdate {
        guard let state else {
            let first = try transition.begin(weight, name: name)
            adaptation = Adaptation(budget: PackedTernary(first.newU).nonzeros + PackedTernary(first.newV).nonzeros)
            return first
        }
        guard settings.adapts(atStep: step) else { return try transition.update(state, name: name) }
        return try transition.adapt(state, name: name, &adaptation)
    }

    private func apply(_ transition: Transition, _ weight: Tensor) throws -> TransitionBranch {
        let layer = layers[transition.layer]
        let (update, oldRank) = try layer.codec.decode(transition.codec, transition.payload)
        let rank = layer.state?.s.count ?? 0
        guard oldRank == rank else {
            throw BusError.replicasDiffer(
                step: step, details: "\(layer.name) has \(rank) components on rank \(world.rank) and \(oldRank) on rank \(layer.owner)")
        }
        layers[transition.layer].state =
            layer.state.map { projected(LayerTransition.apply(update, to: $0), update.branch) }
            ?? LayerTransition.begin(weight, with: update)
        return update.branch
    }

    /// A refresh as published leaves W and ρ alone, so that the network in training is not the one that is kept. The default mode
    /// projects then, too: W ← U·diag(s)·V, ρ ← A − W.
    private func projected(_ state: TernaryLayerState, _ branch: TransitionBranch) -> TernaryLayerState {
        guard branch == .refresh, transition.options.mode == .fast else { return state }
        var state = state
        let a = state.weight + state.rest
        state.weight =
            TernaryDecomposition(u: state.u, s: state.s, v: state.v, balance: state.balance, relativeError: .nan).reconstruction()
        state.rest = a - state.weight
        return state
    }

    /// Of everything about the layers that must be the same on all ranks.
    private var digest: Digest {
        Digests.state(layers.flatMap { layer in layer.state.map { [$0.u, $0.s, $0.v, $0.weight, $0.rest] } ?? [] })
    }

    // MARK: Results

    /// A layer as it is kept: its factors, and how it came to them.
    struct Result {
        let name: String
        let index: Int
        let factors: TernaryFactors
        /// Largest singular value of A − U·diag(s)·V over that of A = W + ρ, both balanced.
        let relativeError: Double
        let branches: BranchCounts
    }

    /// The layers with their factors, once ``begin(_:)`` has been called.
    func results(_ weights: ModelWeights) throws -> [Result] {
        try layers.compactMap { layer in
            guard let state = layer.state else { return nil }
            let factors = TernaryFactors(
                u: PackedTernary(state.u), s: state.s.elements, v: PackedTernary(state.v), balance: state.balance,
                tolerance: transition.options.tolerance)
            return Result(
                name: layer.name, index: layer.index, factors: factors,
                relativeError: try factors.relativeError(weights[layer.index] + state.rest), branches: layer.branches)
        }
    }
}
