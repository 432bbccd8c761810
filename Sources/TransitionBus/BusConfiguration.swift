package import Support

/// What carries transitions between ranks (`bus.transport`).
package enum BusTransport: String, CaseIterable, Sendable {
    /// ``ipc`` when all ranks share a node, else ``tcp``.
    case auto
    /// ZeroMQ over local sockets without files, which processes of this user alone may connect to.
    case ipc
    /// ZeroMQ over one network interface, encrypted, ranks' keys only.
    case tcp
    /// MPI's broadcast, the plain way: what the others must agree with, bit by bit.
    case mpi
}

/// How the bus of one run is set up.
package struct BusConfiguration {
    /// Timeouts of the bus.
    package struct Timing: Sendable {
        /// For the whole set-up.
        package var setup: Duration = .seconds(60)
        /// Pause before a request for what is lost is repeated, and before an owner that waits says again what it has
        /// published; doubled with every further one up to `queryLimit`.
        package var query: Duration = .milliseconds(250)
        package var queryLimit: Duration = .seconds(2)
        /// Requests in a row that an owner which has published everything may leave without effect, and the time for it.
        package var repairTries = 5
        package var repair: Duration = .seconds(30)
        /// Without any progress: for owners that still compute, and for the sync step. Nil: the communicator's watchdog knows
        /// better.
        package var silence: Duration? = .seconds(180)
        /// For a peer to make room for one more message.
        package var send: Duration = .seconds(30)

        package init() {}
    }

    package var route = BusRoute.Settings()
    /// Number of this start of the run; messages of other starts are refused.
    package var attempt = 0
    /// The step the first ``TransitionExchange/beginStep(_:_:)`` will name.
    package var firstStep = 0
    /// Must be equal on all ranks: a hash of the resolved configuration.
    package var configurationHash: [UInt8] = []
    /// Bytes a payload may have at most, per layer; follows from the local shapes.
    package var payloadLimits: [Int]
    /// Throws unless a payload decodes for its layer. Must not change anything.
    package var validate: (Transition) throws -> Void
    package var timing = Timing()
    /// Faults to inject into what arrives; for tests.
    package var faults: FaultInjection?

    /// Whether an interface may be bound, said before there is a bus.
    ///
    /// - Throws: ``BusError/unsuitable(setting:rule:)`` for what is no interface of this machine, or all of them.
    package static func check(interface: String?) throws(BusError) {
        guard let interface else { return }
        try Endpoints.check(interface)
    }

    package init(payloadLimits: [Int], validate: @escaping (Transition) throws -> Void) {
        self.payloadLimits = payloadLimits
        self.validate = validate
    }
}

/// What a bus has done so far on this rank.
package struct BusStatistics: Equatable, Sendable {
    package var transitionsPublished = 0
    /// Headers and payloads as published, replays not counted.
    package var bytesPublished = 0
    /// Transitions sent again on request.
    package var replays = 0
    package var bytesReplayed = 0
    /// Requests sent for what was missing.
    package var requests = 0
    /// This rank's layers that others have computed.
    package var takenOver = 0
    /// Transitions that arrived again and were ignored.
    package var duplicates = 0
    package var refused: [Refusal: Int] = [:]
    /// Connections turned away for lack of a listed key.
    package var refusedKeys = 0
}

/// The way transitions take from their owners to all ranks, once per step:
///
///     try bus.beginStep(step, StepPlan(owners: owners))   // who computes which layer, the same on all ranks
///     while let layer = bus.next(1).first { try bus.publish(compute(layer)); try bus.poll() }
///     try bus.collect { transition in apply(transition) } computing: { layers in layers.map(compute) }
///     try bus.finishStep(stateDigest: digest(of: state))  // returns when all ranks agree
///
/// One thread uses it, the one that uses MPI. After an error the run must end (`Communicator/abort(_:)`).
package protocol TransitionExchange: AnyObject {
    var statistics: BusStatistics { get }
    /// - Parameter plan: the same on all ranks.
    func beginStep(_ step: Int, _ plan: StepPlan) throws
    /// The next of this rank's layers to compute, at most so many; the others may be lent to ranks that are done with theirs
    /// while this one computes. None where all are begun.
    func next(_ count: Int) -> [Int]
    /// Sends one of this rank's layers to all.
    func publish(_ transition: Transition) throws
    /// Takes in what has arrived and answers requests, without waiting: call it between computations, and during long ones.
    func poll() throws
    /// Hands over every transition of the step once, this rank's own ones too, as they arrive; returns when all have been.
    /// - Parameter compute: the transitions of these layers, in order: other ranks' that this one computes for them, at most
    ///   as many as threads at a time, or own ones that another rank was to compute. It may poll.
    func collect(_ apply: (Transition) throws -> Void, computing compute: ([Int]) throws -> [Transition]) throws
    /// This rank's layers of the step that other ranks have computed.
    var takenOver: Set<Int> { get }
    /// The coordinator's sync step: all ranks must have applied this step and be in the same state.
    /// - Parameters:
    ///   - stateDigest: SHA-256 of everything the ranks must share.
    ///   - values: as many on every rank.
    /// - Returns: of each value the least that any rank gave, the same on all ranks. What one rank alone knows they all learn
    ///   where the others give `Int64.max`.
    func finishStep(stateDigest: Digest, leastOf values: [Int64]) throws -> [Int64]
}

extension TransitionExchange {
    /// As ``finishStep(stateDigest:leastOf:)`` without values.
    package func finishStep(stateDigest: Digest) throws { _ = try finishStep(stateDigest: stateDigest, leastOf: []) }

    /// A step in which each rank computes its own layers.
    package func beginStep(_ step: Int, owners: [Int]) throws { try beginStep(step, StepPlan(owners: owners)) }

    /// Of a step in which each rank computes its own layers.
    package func collect(_ apply: (Transition) throws -> Void) throws { try collect(apply) { _ in [] } }

    /// Waits for all layers of the step; every transition once, by layer.
    package func collect() throws -> [Transition] {
        var all: [Transition] = []
        try collect { all.append($0) }
        return all.sorted { $0.layer < $1.layer }
    }
}

/// Finds out whether the ranks differ and how, given what each has (collective on the slow path only).
enum Agreement {
    /// (step, count, digest) as four integers of the digest's first 32 bytes, and the complement of each: one minimum over
    /// ranks then gives the minima and the maxima, as max(x) = ~min(~x).
    static func vector(step: Int, count: Int, digest: Digest) -> [Int64] {
        precondition(digest.count == 32, "a digest has 32 bytes, not \(digest.count)")
        let values = [Int64(step), Int64(count)] + (0..<4).map { Int64(bitPattern: digest.littleEndian(at: 8 * $0)) }
        return values + values.map { ~$0 }
    }

    /// Whether all ranks gave the same, by the reduced vector.
    static func holds(_ reduced: ArraySlice<Int64>) -> Bool {
        let half = reduced.count / 2
        return zip(reduced.prefix(half), reduced.suffix(half)).allSatisfy { $0 == ~$1 }
    }
}
