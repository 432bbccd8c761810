package import Collectives
package import Configuration
internal import LinearAlgebra
package import Parallelism
package import Runs
package import Support
package import TensorCore
package import TernarySVD
internal import TransitionBus

/// The ternary layers of a network in training: decomposed once, then projected again after every optimizer step.
///
/// In every step each layer has an owner that computes its transition and publishes it at once. Every rank, including the
/// owner, applies what was published, so that all end a step with the same bits. The synchronization at the end of a step
/// compares a digest of all layers' W, ρ, U, s, V, a and b.
package final class TernaryTraining<World: Communicator> {
    /// Time and traffic of a step's transitions.
    package struct StepReport {
        package var seconds: Double
        /// Seconds for the layers that this rank has computed.
        package var computeSeconds: Double
        package var branches: BranchCounts
        /// Bytes of all transitions, headers included.
        package var bytes: Int
        /// Number of layers, over all ranks, that were computed by a rank other than their owner.
        package var takenOver: Int
        /// SHA-256 of the layers' state, the same on all ranks.
        package var digest: [UInt8]
    }

    /// A layer's last transition.
    package struct LayerReport {
        package let name: String
        package let branch: TransitionBranch
        package let componentCount: Int
        /// See ``TransitionUpdate/isRefusal``.
        package let isRefusal: Bool
    }

    private let transition: LayerTransition
    private let settings: TernarySettings
    private let world: World
    private let exchange: any TransitionExchange
    /// Owns the sockets' context.
    private let messaging: MessagingContext
    private var layers: [TernaryTrainingLayer]
    var dispatch: TransitionDispatch
    /// Called with a layer's name before this rank computes its transition; for tests.
    var beforeComputing: ((String) throws -> Void)?
    /// When this rank last looked for messages while it computed, and the total time of doing so.
    private var lastPoll = ContinuousClock.now
    private var pollSeconds = 0.0
    private static var pollPause: Duration { .milliseconds(2) }
    /// Called with every layer's transition, for monitors.
    package var observe: (LayerReport) -> Void = { _ in }
    /// Number of transitions begun; the first decomposition is number 0.
    private var step = 0
    /// Bytes of U, s, V, W and ρ of all layers as float32, over all steps, which is what the reference broadcasts.
    package private(set) var referenceBytes = 0
    /// Bytes published by this rank in the steps after the first decomposition.
    package var publishedBytes: Int { exchange.statistics.bytesPublished - initialBytes }
    package var replays: Int { exchange.statistics.replays }
    /// A message of the bus that this rank has refused; nil where there are none, apart from late ones.
    package var refusal: String? {
        let statistics = exchange.statistics
        let reason = Refusal.allCases.first { $0 != .stale && statistics.refused[$0] != nil }
        return reason.map { "a message (\($0.rawValue))" }
            ?? (statistics.refusedKeys > 0 ? "a connection with an unknown key" : nil)
    }
    private var initialBytes = 0
    /// Makes the first transition of a layer, as long as that is to be made.
    private var first: ((TernaryTrainingLayer, _ poll: () throws -> Void) throws -> TransitionUpdate)?

    /// Connects the ranks. Collective.
    ///
    /// - Parameters:
    ///   - indices: indices of the model's weights that become ternary.
    ///   - world: the ranks that hold these layers.
    ///   - attempt: number of this start of the run.
    ///   - saved: the state to resume from, of the same model and configuration; nil to start with
    ///     ``begin(_:from:keeping:eachRound:)``.
    ///   - whileWaiting: called whenever the exchange waits.
    package init(
        _ weights: ModelWeights<Tensor>, indices: [Int], _ transition: LayerTransition, _ config: RunConfig, over world: World,
        attempt: Int = 1, from saved: TrainingState? = nil, whileWaiting: (() throws -> Void)? = nil
    ) throws {
        self.transition = transition
        settings = config.ternary
        self.world = world
        dispatch = TransitionDispatch(sizes: indices.map { weights[$0].count }, ranks: world.size)
        layers = indices.map { index in
            let weight = weights[index]
            return TernaryTrainingLayer(
                name: weights.layerName(index), index: index, rows: weight.rows, columns: weight.columns,
                tolerance: transition.options.tolerance)
        }
        if let saved {
            step = try saved.count("transitions", atMost: Int(Int32.max))
            for number in layers.indices { try layers[number].restore(saved) }
        }
        let codecs = layers.map(\.codec)
        var bus = BusConfiguration(payloadLimits: codecs.map(TransitionMessage.limit)) { transition in
            try TransitionMessage.check(transition, codecs[transition.layer])
        }
        bus.route = config.bus.route
        bus.attempt = attempt
        // Where there is a watchdog, it ends the waiting for ranks that make no progress.
        bus.timing.silence = world.watchdog == nil ? .seconds(config.watchdog.step) : nil
        bus.firstStep = step
        bus.configurationHash = sha256(Array(config.yaml.utf8))
        messaging = try MessagingContext()
        // Every rank gets here while it decomposes or waits, also within training steps, where requests to stop have to wait.
        exchange = try bus.open(world, messaging) {
            try whileWaiting?()
            try StopRequest.check()
        }
    }

    /// The first factors of every layer, from a decomposition or as given. The weights become the matrices that these stand
    /// for. Collective.
    ///
    /// - Parameters:
    ///   - factors: factors of every layer, if they are not to be made here.
    ///   - finished: where finished layers are kept, and found again by an interrupted run.
    ///   - eachRound: called every round of each own layer's decomposition. An error that it throws ends the decomposition.
    package func begin(
        _ weights: inout ModelWeights<Tensor>, from factors: [String: TernaryFactors]? = nil,
        keeping finished: FinishedLayers? = nil,
        eachRound: @escaping () throws -> Void = {}
    ) throws {
        for number in layers.indices {
            guard let given = factors?[layers[number].name] else { continue }
            layers[number].tolerance = given.tolerance
            layers[number].hasShortScales = given.hasShortScales
            layers[number].isGiven = true
        }
        first = { [transition] layer, poll in
            if let given = factors?[layer.name] { return LayerTransition.begin(with: given) }
            func work() throws -> TernaryDecomposition {
                try TernaryDecomposition(layer.state.weight, transition.options, name: layer.name) {
                    try poll()
                    try StopRequest.check()
                    try eachRound()
                }
            }
            let result = try finished?.decomposition(of: layer.state.weight, name: layer.name, or: work) ?? work()
            return LayerTransition.begin(
                with: TernaryFactors(result, tolerance: layer.tolerance, sparsity: transition.options.sparsity))
        }
        defer { first = nil }
        _ = try project(&weights)
        initialBytes = exchange.statistics.bytesPublished
    }

    /// Projects every layer again, after an optimizer step. Collective.
    package func update(_ weights: inout ModelWeights<Tensor>) throws -> StepReport {
        let report = try project(&weights)
        referenceBytes += layers.reduce(0) { sum, layer in
            let (m, n, k) = (layer.codec.rows, layer.codec.columns, layer.componentCount)
            return sum + MemoryLayout<Float>.stride * ((m + n + 1) * k + 2 * m * n)
        }
        return report
    }

    private func project(_ weights: inout ModelWeights<Tensor>) throws -> StepReport {
        let clock = ContinuousClock()
        let start = clock.now
        for number in layers.indices { layers[number].exchangeWeight(&weights[layers[number].index]) }
        let kind: TransitionDispatch.Kind = first != nil ? .first : settings.adapts(atStep: step) ? .adapting : .refreshing
        try Trace.span(.exchange) { try exchange.beginStep(step, dispatch.plan(kind)) }
        var work = Work(layers: layers.count)
        // As many at a time as there are threads. Results are published while the next layers are computed, and layers not yet
        // begun may be lent. A rank alone has nobody to wait for its results.
        let atOnce = world.size > 1 ? Team.threads : layers.count
        var next = exchange.next(atOnce)
        while !next.isEmpty {
            let computed = try compute(next, &work, .transition)
            next = Trace.span(.exchange) { exchange.next(atOnce) }
            for transition in computed {
                try Trace.span(.exchange, transition.layer) {
                    try exchange.publish(transition)
                    try exchange.poll()
                }
            }
        }
        var (branches, bytes) = (BranchCounts(), 0)
        let (digest, takenOver) = try Trace.span(.exchange) {
            try exchange.collect { transition in
                branches.add(try apply(transition))
                bytes += transition.byteCount
            } computing: { numbers in
                try compute(numbers, &work, .takenOver)
            }
            let digest = sha256(layers.flatMap(\.digest))
            // For each layer, whether a rank other than its owner has computed it: 0 from the owner in that case.
            let marks = layers.indices.map { exchange.takenOver.contains($0) ? 0 : Int64.max }
            let least = try exchange.finishStep(stateDigest: digest, leastOf: work.times + marks)
            dispatch.note(Array(least.prefix(layers.count)), kind)
            return (digest, least.suffix(layers.count).count { $0 == 0 })
        }
        for number in layers.indices {
            layers[number].exchangeWeight(&weights[layers[number].index])
            // Another rank has computed it, and will again.
            if work.times[number] == .max { layers[number].scaleFactor = nil }
        }
        step += 1
        return StepReport(
            seconds: (clock.now - start) / .seconds(1), computeSeconds: work.seconds, branches: branches,
            bytes: world.size > 1 ? bytes : 0, takenOver: takenOver, digest: digest)
    }

    /// A rank's work in a step.
    private struct Work {
        /// Nanoseconds of processor time for each layer that this rank has computed; the other ranks know theirs.
        var times: [Int64]
        /// Seconds, without the time spent on the exchange meanwhile.
        var seconds = 0.0

        init(layers: Int) { times = Array(repeating: .max, count: layers) }
    }

    /// The transitions of these layers, which threads share.
    private func compute(_ numbers: [Int], _ work: inout Work, _ kind: Trace.Kind) throws -> [Transition] {
        let begun = ContinuousClock.now
        let polledBefore = pollSeconds
        // A rank that waits for its own threads still answers others.
        let answer = { [self] in try pollAtTimes(hasWorked: false) }
        let computed = try Team.map(numbers.count, meanwhile: answer) { place, isCaller in
            // Reading the processor time often makes the system give the core to others, which belongs to the span.
            try Trace.span(kind, numbers[place]) {
                let time = TransitionDispatch.processorTime
                var factor = layers[numbers[place]].scaleFactor
                let transition = try compute(numbers[place], keeping: &factor, polls: isCaller)
                return (transition, factor: factor, time: TransitionDispatch.processorTime - time)
            }
        }
        work.seconds += (ContinuousClock.now - begun) / .seconds(1) - (pollSeconds - polledBefore)
        for (transition, factor, time) in computed {
            work.times[transition.layer] = time
            keep(factor, of: transition.layer)
        }
        return computed.map(\.0)
    }

    /// Keeps the factor for a layer's next transition, as far as there is room. This changes nothing but the time.
    private func keep(_ factor: CholeskyFactor?, of layer: Int) {
        layers[layer].scaleFactor = nil
        let weights = layers.reduce(0) { $0 + $1.codec.rows * $1.codec.columns }
        if keptValues + (factor?.count ?? 0) <= LayerTransition.mostFactors * weights { layers[layer].scaleFactor = factor }
    }

    /// Values of the factors that this rank keeps.
    var keptValues: Int { layers.reduce(0) { $0 + ($1.scaleFactor?.count ?? 0) } }

    /// Computes the transition of a layer. Meanwhile other ranks may ask for missing messages, or for work.
    ///
    /// - Parameter polls: whether this thread may exchange messages meanwhile; only one may.
    private func compute(_ number: Int, keeping factor: inout CholeskyFactor?, polls: Bool) throws -> Transition {
        let layer = layers[number]
        try beforeComputing?(layer.name)
        var adaptation = layer.adaptation
        let update = try update(layer, &adaptation, &factor) { if polls { try pollAtTimes() } else { WorkProgress.note() } }
        return try TransitionMessage(update, oldCount: layer.componentCount, adaptation).transition(
            of: number, layer.codec, name: layer.name)
    }

    /// Looks for messages unless that has just been done.
    private func pollAtTimes(hasWorked: Bool = true) throws {
        let now = ContinuousClock.now
        guard now - lastPoll >= Self.pollPause else { return }
        if hasWorked { WorkProgress.note() }
        try exchange.poll()
        lastPoll = .now
        pollSeconds += (lastPoll - now) / .seconds(1)
    }

    private func update(
        _ layer: TernaryTrainingLayer, _ adaptation: inout Adaptation, _ factor: inout CholeskyFactor?, poll: () throws -> Void
    ) throws -> TransitionUpdate {
        if let first {
            let update = try first(layer, poll)
            adaptation = Adaptation(budget: PackedTernary(update.newU).nonzeros + PackedTernary(update.newV).nonzeros)
            return update
        }
        return try transition.step(
            layer.state, name: layer.name, adapts: settings.adapts(atStep: step), follows: settings.followsWeights, &adaptation,
            keeping: &factor, eachRound: poll)
    }

    private func apply(_ transition: Transition) throws -> TransitionUpdate {
        let number = transition.layer
        let (name, count) = (layers[number].name, layers[number].componentCount)
        let message = try TransitionMessage(transition, layers[number].codec)
        guard message.oldCount == count else {
            throw BusError.replicasDiffer(
                step: step,
                details: "\(name) has \(count) components on rank \(world.rank) and \(message.oldCount) on its "
                    + "owner")
        }
        layers[number].apply(message, self.transition, isFirst: step == 0)
        let update = message.update
        observe(LayerReport(name: name, branch: update.branch, componentCount: update.s.count, isRefusal: update.isRefusal))
        return update
    }

    /// Messages of the bus that all ranks have refused, by reason, and refused connections. Collective.
    package func refusals(over world: some Communicator) throws -> JSONObject {
        let statistics = exchange.statistics
        var counts = Refusal.allCases.map { Int64(statistics.refused[$0] ?? 0) } + [Int64(statistics.refusedKeys)]
        try world.allReduce(&counts, .sum)
        var result = JSONObject()
        for (name, count) in zip(Refusal.allCases.map(\.rawValue) + ["keys"], counts) { result[name] = .integer(Int(count)) }
        return result
    }

    // MARK: Checkpoints

    /// A rank's state of its ternary layers, for a checkpoint.
    package var state: TrainingState {
        var state = TrainingState()
        state.numbers["transitions"] = Double(step)
        for layer in layers { layer.save(into: &state) }
        return state
    }

    // MARK: Results

    /// A layer's result: its factors, and how they were found.
    package struct Result {
        package let name: String
        package let index: Int
        package let factors: TernaryFactors
        package let branches: BranchCounts
    }

    /// The layers with their factors, once ``begin(_:from:keeping:eachRound:)`` has been called.
    package var results: [Result] {
        layers.map { layer in
            let state = layer.state
            var factors = TernaryFactors(
                u: state.packedU, s: state.s.elements, v: state.packedV, balance: state.balance,
                tolerance: layer.tolerance, sparsity: transition.options.sparsity)
            if layer.hasShortScales { factors = factors.withShortScales }
            return Result(name: layer.name, index: layer.index, factors: factors, branches: layer.branches)
        }
    }

    /// Of each result, the largest singular value of A − U·diag(s)·V over that of A = W + ρ, both balanced.
    ///
    /// Two sets of singular values of each layer, O(m²·n) for m ≤ n: replicas divide the layers, and threads of a replica take
    /// theirs one by one. Collective.
    ///
    /// - Parameters:
    ///   - results: the present ``results``.
    ///   - groups: all ranks, of which this training's are the replicas of a stage.
    /// - Returns: the same numbers on every replica.
    package func relativeErrors(
        of results: [Result], _ weights: ModelWeights<Tensor>, over groups: ParallelGroups<World>
    ) throws -> [Double] {
        let costs = results.map { result in
            let (m, n) = (result.factors.u.rows, result.factors.v.columns)
            return (name: result.name, size: m * n * min(m, n))
        }
        let owners = GreedyDispatch.owners(layers: costs, ranks: groups.dims.data)
        let own = results.indices.filter { owners[$0] == groups.replica }
        let computed = try groups.world.agree {
            try Team.map(own.count, costs: own.map { costs[$0].size }) { place, _ in
                WorkProgress.note()
                try StopRequest.check()
                let layer = layers[own[place]]
                return try results[own[place]].factors.relativeError(weights[layer.index] + layer.state.rest)
            }
        }
        var errors = [Double](repeating: 0, count: results.count)
        for (layer, error) in zip(own, computed) { errors[layer] = error }
        try groups.replicas.allReduce(&errors, .sum)
        return errors
    }
}
