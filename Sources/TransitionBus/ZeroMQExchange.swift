package import Collectives
internal import Glibc
package import Support
internal import TensorCore

/// Transitions over ZeroMQ: published as soon as they are computed, staged as they arrive, asked for again where they are lost.
/// docs/reliability.md, section 4.
package final class ZeroMQExchange<World: Communicator>: TransitionExchange {
    let world: World
    let timing: BusConfiguration.Timing
    let links: any BusLinks
    private var faults: FaultInjection?
    var ledger: StepLedger
    var handover: Handover
    /// Results of layers that other ranks have computed for this one, to be published where this rank does not publish already.
    var results: [Transition] = []
    /// Claims of the next step, by rank.
    var earlyClaims: [Int: (FrameHeader, [UInt8])] = [:]
    /// Whether this rank has said that all of its layers of the step are published.
    private var hasEnded = false
    private var ring = ReplayRing()
    /// Number of the next frame this rank publishes, and of the next that each owner is expected to.
    private var sequence: UInt64 = 0
    private var expected: [UInt64]
    /// Owners whose stream has shown a gap since the last request to them.
    private var gaps: Set<Int> = []
    private var announcements: Announcements
    /// When a transition was last sent to a peer again: a flood of requests is answered at a limited rate.
    private var served: [Served: ContinuousClock.Instant] = [:]
    /// Keys turned away by then: the self-test's.
    private let refusedAtSetup: Int
    package internal(set) var statistics = BusStatistics()
    /// Called whenever the exchange waits, to serve what else this thread owns (the events).
    package var whileWaiting: (() throws -> Void)?

    private struct Served: Hashable {
        let peer: Int
        let step: Int
        let layer: Int
    }

    /// Connects all ranks; collective. - Throws: ``BusError``, ``ZeroMQError`` or ``MPIError``.
    package init(_ world: World, _ configuration: BusConfiguration, _ messaging: MessagingContext) throws {
        self.world = world
        timing = configuration.timing
        faults = configuration.faults
        ledger = StepLedger(
            payloadLimits: configuration.payloadLimits, attempt: UInt32(configuration.attempt),
            firstStep: configuration.firstStep, validate: configuration.validate)
        handover = Handover(rank: world.rank)
        expected = Array(repeating: 0, count: world.size)
        announcements = Announcements(timing, ranks: world.size, now: .now)
        let early: [BusEvent]
        (links, early) = try BusSetup.open(world, configuration, messaging)
        refusedAtSetup = links.refusedKeys
        for event in early { try handle(event) }
    }

    /// What this rank, or the relay of its group, listens at.
    var endpoints: PeerEndpoints { links.endpoints }

    // MARK: A step

    /// Takes in what arrived early for this step, and forgets the frames of the step before last.
    package func beginStep(_ step: Int, _ plan: StepPlan) throws {
        handover.begin(plan)
        (results, hasEnded) = ([], false)
        for refusal in ledger.begin(step: step, owners: plan.owners) { count(refusal) }
        ring.begin(step: step)
        served = served.filter { $0.key.step >= step - 1 }
    }

    /// Sends the transition, and keeps its frame for ranks that ask again.
    package func publish(_ transition: Transition) throws {
        precondition(ledger.owners[transition.layer] == world.rank, "layer \(transition.layer) belongs to another rank")
        let header = header(.transition, layer: transition.layer, codec: transition.codec, payload: transition.payload)
        let frame = ReplayRing.Frame(header: header.encoded, payload: transition.payload)
        ledger.stageOwn(transition, digest: header.digest)
        ring.store(frame, step: ledger.step, layer: transition.layer)
        statistics.transitionsPublished += 1
        statistics.bytesPublished += frame.header.count + frame.payload.count
        try publish(frame)
    }

    /// As ``TransitionExchange/poll()``.
    package func poll() throws {
        try answerEarlyClaims()
        try poll(milliseconds: 0)
        try publishResults()
    }

    /// As ``TransitionExchange/next(_:)``.
    package func next(_ count: Int) -> [Int] { handover.next(count) }

    /// As ``TransitionExchange/takenOver``.
    package var takenOver: Set<Int> { handover.takenOver }

    /// Ends the own part of the step and takes in the others', asking again for what is overdue; computes for owners that have
    /// more to do.
    ///
    /// - Throws: ``BusError``, among others where an owner stays silent for too long.
    package func collect(_ apply: (Transition) throws -> Void, computing compute: ([Int]) throws -> [Transition]) throws {
        try end()
        try world.waiting(in: "step \(ledger.step) of the transition bus") { try applyAll(apply, computing: compute) }
    }

    /// Says that all of this rank's transitions are published, once they are.
    private func end() throws {
        guard !hasEnded, !handover.isOwed else { return }
        hasEnded = true
        let ending = ReplayRing.Frame(header: header(.end).encoded, payload: [])
        ring.storeEnding(ending, step: ledger.step)
        try publish(ending)
        announcements.begin(now: .now)
    }

    /// Says again that all of this rank's transitions are published, where it is time: who has lost the last of them learns it
    /// by nothing else. Where there is no room for it, it is said the next time: after the last step the others may be gone.
    private func announce() throws {
        guard announcements.areDue(now: .now), let ending = ring.ending(step: ledger.step) else { return }
        _ = try links.publish(ending.header, ending.payload)
    }

    private func applyAll(
        _ apply: (Transition) throws -> Void, computing compute: ([Int]) throws -> [Transition]
    ) throws {
        var schedule = RepairSchedule(timing, now: .now)
        var applied = 0
        while applied < ledger.arrived.count || !ledger.isComplete {
            if try takeOver(compute) { continue }
            try end()
            if applied < ledger.arrived.count {
                if let transition = ledger.transition(ledger.arrived[applied]) { try apply(transition) }
                applied += 1
                WorkProgress.note()
                try poll(milliseconds: 0)
                continue
            }
            try poll(milliseconds: 5)
            let now = ContinuousClock.now
            // Own layers that others are to compute become due by themselves.
            for (owner, layers) in ledger.missing where owner != world.rank || !handover.isOwed {
                let decision = schedule.decide(
                    owner: owner, missing: layers.count, hasGap: gaps.remove(owner) != nil, hasEnded: ledger.hasEnded(owner),
                    now: now)
                try repair(decision, owner: owner, layers: layers)
            }
            try announce()
        }
        // All is here. What shows from now on is of the next step.
        gaps = []
    }

    private func repair(_ decision: RepairSchedule.Decision, owner: Int, layers: [Int]) throws {
        switch decision {
        case .wait: break
        case .ask:
            try ask(owner, for: layers)
        case .giveUp(let seconds):
            let what = "layer \(layers[0]) and \(layers.count - 1) more of rank \(owner) in step \(ledger.step)"
            throw BusError.timeout(what: what, rank: world.rank, seconds: seconds)
        }
    }

    /// An all-reduce over MPI, while requests are still answered; then rank 0 publishes that the step is committed.
    ///
    /// - Throws: ``BusError/replicasDiffer(step:details:)``, ``BusError/timeout(what:rank:seconds:)``.
    package func finishStep(stateDigest: Digest, leastOf values: [Int64]) throws -> [Int64] {
        let start = ContinuousClock.now
        let vector = Agreement.vector(step: ledger.step, count: ledger.arrived.count, digest: stateDigest)
        let pending = try world.startAllReduce(vector + values, .min)
        // Never a blocking wait: a rank that waits inside MPI cannot send again what another one has missed.
        try world.waiting(in: "the end of step \(ledger.step) on the transition bus") {
            while try !pending.isComplete() {
                if let silence = timing.silence, ContinuousClock.now - start >= silence {
                    throw BusError.timeout(
                        what: "all ranks to end step \(ledger.step)", rank: world.rank, seconds: silence.seconds)
                }
                let isShort = ContinuousClock.now - start < .milliseconds(20)
                if isShort { sched_yield() }
                try poll(milliseconds: isShort ? 0 : 1)
                try announce()
            }
        }
        let reduced = try pending.wait().elements
        guard Agreement.holds(reduced[..<vector.count]) else { throw try Differences.find(ledger, stateDigest, world) }
        if world.rank == 0 { try publish(ReplayRing.Frame(header: header(.commit).encoded, payload: [])) }
        return Array(reduced[vector.count...])
    }

    // MARK: Sending

    /// A header with the next place in this rank's stream.
    private func header(_ kind: FrameHeader.Kind, layer: Int = 0, codec: UInt8 = 0, payload: [UInt8] = []) -> FrameHeader {
        defer { sequence += 1 }
        return FrameHeader(
            kind, attempt: ledger.attempt, owner: world.rank, step: ledger.step, layer: layer, codec: codec, sequence: sequence,
            payload: payload)
    }

    /// Queues a frame for all ranks; while one has no room, takes in what others send, so that two cannot wait for each other.
    private func publish(_ frame: ReplayRing.Frame) throws {
        let start = ContinuousClock.now
        while try !links.publish(frame.header, frame.payload) {
            guard ContinuousClock.now - start < timing.send else {
                throw BusError.timeout(what: "room in a rank's queue", rank: world.rank, seconds: timing.send.seconds)
            }
            try poll(milliseconds: 1)
        }
    }

    private func ask(_ owner: Int, for layers: [Int]) throws {
        var payload: [UInt8] = []
        for layer in layers.prefix(8192) { payload.append(littleEndian: UInt32(layer)) }
        let header = FrameHeader(
            .request, attempt: ledger.attempt, owner: world.rank, step: ledger.step, payload: payload)
        if try links.ask(owner, header.encoded, payload) { statistics.requests += 1 }
    }

    // MARK: Receiving

    private func poll(milliseconds: Int) throws {
        try links.poll(milliseconds: milliseconds, handle)
        statistics.refusedKeys = links.refusedKeys - refusedAtSetup
        try whileWaiting?()
    }

    private func handle(_ event: BusEvent) throws {
        switch event {
        case .published(let owner, let parts): try withFaults(parts, from: owner) { try take($0, from: owner, isReplay: false) }
        case .replayed(let owner, let parts): try withFaults(parts, from: owner) { try take($0, from: owner, isReplay: true) }
        case .asked(let peer, let parts): try withFaults(parts, from: peer) { try serve($0, to: peer) }
        case .subscribed, .unsubscribed: break
        case .garbage: count(.malformed)
        }
    }

    private func withFaults(_ parts: [[UInt8]], from sender: Int, _ take: ([[UInt8]]) throws -> Void) throws {
        guard faults != nil else { return try take(parts) }
        for parts in faults?.inject(parts, from: sender) ?? [] { try take(parts) }
    }

    /// Takes header and payload that an owner published, or sent again.
    private func take(_ parts: [[UInt8]], from owner: Int, isReplay: Bool) throws {
        guard let header = FrameHeader(decoding: parts[0]) else { return refuse(.malformed, of: owner) }
        guard header.attempt == ledger.attempt, header.owner == UInt32(owner) else { return refuse(.stale, of: owner) }
        switch header.kind {
        case .grant where isReplay: return takeGrant(header, parts[1], from: owner)
        case .result where isReplay: return try takeResult(header, parts[1], from: owner)
        case .transition:
            switch try ledger.offer(header, parts[1], from: owner) {
            case .staged, .early: break
            case .duplicate: statistics.duplicates += 1
            case .refused(let refusal): refuse(refusal, of: owner)
            }
        case .end: ledger.noteEnd(header, from: owner)
        // The all-reduce has said so already: it only shows what was lost before it.
        case .commit where owner == 0: break
        case .commit, .request, .claim, .grant, .result: return refuse(.malformed, of: owner)
        case .probe, .hello: return
        }
        guard !isReplay else { return }
        if header.sequence > expected[owner] { gaps.insert(owner) }
        expected[owner] = max(expected[owner], header.sequence &+ 1)
    }

    /// Counts what was not taken; something of this owner is then missing, most likely.
    private func refuse(_ refusal: Refusal, of owner: Int) {
        count(refusal)
        if refusal != .stale { gaps.insert(owner) }
    }

    func count(_ refusal: Refusal) { statistics.refused[refusal, default: 0] += 1 }

    /// Sends again what a peer has missed of this rank's transitions, as far as they exist.
    private func serve(_ parts: [[UInt8]], to peer: Int) throws {
        guard let header = FrameHeader(decoding: parts[0]), header.attempt == ledger.attempt, header.owner == UInt32(peer)
        else {
            return count(.malformed)
        }
        let payload = parts[1]
        if header.kind == .claim { return try answerClaim(header, payload, of: peer) }
        guard header.kind == .request else { return }
        guard payload.count % 4 == 0, sha256(payload) == header.digest, let step = Int(exactly: header.step) else {
            return count(.wrongDigest)
        }
        let now = ContinuousClock.now
        for offset in stride(from: 0, to: payload.count, by: 4) {
            let layer = Int(payload.littleEndian(at: offset, UInt32.self))
            guard let frame = ring.frame(step: step, layer: layer) else { continue }
            let key = Served(peer: peer, step: step, layer: layer)
            if let last = served[key], now - last < timing.query / 2 { continue }
            served[key] = now
            guard try links.answer(peer, frame.header, frame.payload) else { return }
            statistics.replays += 1
            statistics.bytesReplayed += frame.header.count + frame.payload.count
        }
        if let ending = ring.ending(step: step) { _ = try links.answer(peer, ending.header, ending.payload) }
    }
}

extension BusConfiguration {
    /// Opens the exchange that the transport and the world call for; collective.
    /// - Parameter whileWaiting: called whenever the exchange waits, to serve what else this thread owns (the events).
    /// - Throws: ``BusError``, ``ZeroMQError`` or ``MPIError``.
    package func open(
        _ world: some Communicator, _ messaging: MessagingContext, whileWaiting: (() throws -> Void)? = nil
    ) throws -> any TransitionExchange {
        guard world.size > 1, route.transport != .mpi else { return BroadcastExchange(world, self) }
        let exchange = try ZeroMQExchange(world, self, messaging)
        exchange.whileWaiting = whileWaiting
        return exchange
    }
}
