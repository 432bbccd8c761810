package import Collectives
package import Support

/// Transitions over MPI's broadcast: nothing overlaps with computing and nothing is lost. The oracle for the ZeroMQ bus, and
/// the exchange of a world of one.
package final class BroadcastExchange<World: Communicator>: TransitionExchange {
    private let world: World
    private var ledger: StepLedger
    private var own: [Int: Transition] = [:]
    private var handover: Handover
    /// None: there is no time at which a rank could be asked.
    package let takenOver: Set<Int> = []
    package private(set) var statistics = BusStatistics()

    package init(_ world: World, _ configuration: BusConfiguration) {
        self.world = world
        handover = Handover(rank: world.rank)
        ledger = StepLedger(
            payloadLimits: configuration.payloadLimits, attempt: UInt32(configuration.attempt),
            firstStep: configuration.firstStep, validate: configuration.validate)
    }

    /// Forgets the layers of the step before.
    package func beginStep(_ step: Int, _ plan: StepPlan) throws {
        own = [:]
        handover.begin(plan)
        _ = ledger.begin(step: step, owners: plan.owners)
    }

    /// As ``TransitionExchange/next(_:)``.
    package func next(_ count: Int) -> [Int] { handover.next(count) }

    /// Keeps the transition until `collect(_:)` broadcasts it.
    package func publish(_ transition: Transition) throws {
        precondition(ledger.owners[transition.layer] == world.rank, "layer \(transition.layer) belongs to another rank")
        own[transition.layer] = transition
        statistics.transitionsPublished += 1
        statistics.bytesPublished += world.size > 1 ? FrameHeader.size + transition.payload.count : 0
    }

    /// Does nothing: MPI carries everything in `collect(_:)`.
    package func poll() throws {}

    /// Broadcasts layer by layer, each from its owner. Collective.
    package func collect(_ apply: (Transition) throws -> Void, computing compute: ([Int]) throws -> [Transition]) throws {
        for (layer, owner) in ledger.owners.enumerated() {
            let mine = own[layer]
            precondition(owner != world.rank || mine != nil, "layer \(layer) was not published by its owner")
            var bytes = mine.map { [$0.codec] + $0.payload } ?? []
            try world.broadcast(&bytes, root: owner)
            guard let codec = bytes.first else { continue }
            let payload = Array(bytes.dropFirst())
            let header = FrameHeader(
                .transition, attempt: ledger.attempt, owner: owner, step: ledger.step, layer: layer, codec: codec,
                payload: payload)
            if case .refused(let refusal) = try ledger.offer(header, payload, from: owner) {
                let details = "layer \(layer) of rank \(owner) was refused by rank \(world.rank): \(refusal)"
                throw BusError.replicasDiffer(step: ledger.step, details: details)
            }
            if let transition = ledger.transition(layer) { try apply(transition) }
        }
    }

    /// One all-reduce tells whether all ranks agree, and the least of each value.
    ///
    /// - Throws: ``BusError/replicasDiffer(step:details:)``.
    package func finishStep(stateDigest: Digest, leastOf values: [Int64]) throws -> [Int64] {
        let own = Agreement.vector(step: ledger.step, count: ledger.arrived.count, digest: stateDigest)
        var reduced = own + values
        try world.allReduce(&reduced, .min)
        guard Agreement.holds(reduced[..<own.count]) else { throw try Differences.find(ledger, stateDigest, world) }
        return Array(reduced[own.count...])
    }
}

/// The table of what differs, once it is known that something does.
enum Differences {
    /// Collective: every rank has seen the same reduced vector, so all come here.
    static func find(_ ledger: StepLedger, _ stateDigest: Digest, _ world: some Communicator) throws -> BusError {
        var mine: [UInt8] = []
        mine.append(littleEndian: Int64(ledger.step))
        let all = try world.allGather(mine + stateDigest + ledger.digestPrefixes)
        let states = all.indices.filter { all[$0].prefix(40) != all[0].prefix(40) }
        let layers = ledger.payloadLimits.indices.compactMap { layer -> String? in
            let range = 40 + 8 * layer..<48 + 8 * layer
            let others = all.indices.filter { all[$0].count != all[0].count || all[$0][range] != all[0][range] }
            return others.isEmpty ? nil : "layer \(layer) on \(others.ranks)"
        }
        let transitions = layers.isEmpty ? "all received the same transitions" : layers.joined(separator: ", ")
        return .replicasDiffer(step: ledger.step, details: "state on \(states.ranks) against rank 0; \(transitions)")
    }
}

extension [Int] {
    fileprivate var ranks: String { isEmpty ? "no rank" : "rank " + map(String.init).joined(separator: ", ") }
}
