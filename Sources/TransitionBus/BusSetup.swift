internal import CZeroMQ
internal import Collectives
internal import Glibc
internal import Support

/// From nothing to connections that are known to work, within a minute; every step is taken by all ranks.
enum BusSetup {
    static func open(
        _ world: some Communicator, _ configuration: BusConfiguration, _ messaging: MessagingContext
    ) throws -> (BusSockets, early: [BusSockets.Event]) {
        try agreeOnConfiguration(world, configuration)
        let route = try BusRoute.find(configuration.transport, interface: configuration.interface, over: world)
        try route.check()
        let run = UInt64(bitPattern: try world.broadcast(Int64.random(in: .min ... .max)))
        let sockets: BusSockets
        if route.transport == .tcp {
            sockets = try BusSockets(
                messaging, rank: world.rank, run: run, bindings: ("tcp://\(route.address):*", "tcp://\(route.address):*"),
                keys: .generate(), payloadLimits: configuration.payloadLimits)
        } else {
            sockets = try BusSockets(
                messaging, rank: world.rank, run: run,
                bindings: (Endpoints.local(run: run, "d\(world.rank)"), Endpoints.local(run: run, "c\(world.rank)")), keys: nil,
                payloadLimits: configuration.payloadLimits)
        }
        let cards = try exchange(sockets.card, world)
        if sockets.keys != nil {
            for (rank, card) in cards.enumerated() {
                try messaging.authenticator.allow(card.publicKey, domain: BusSockets.authenticationDomain, as: "\(rank)")
            }
            let isSafe = try refusesStrangers(sockets, keys: .generate(), within: configuration.timing.setup)
            let safe = try world.allGather(Int64(isSafe ? 1 : 0))
            if let rank = safe.firstIndex(of: 0) { throw BusError.strangerAdmitted(rank: rank) }
        }
        try sockets.connect(to: cards)
        return (sockets, try shakeHands(sockets, world, configuration))
    }

    private static func agreeOnConfiguration(_ world: some Communicator, _ configuration: BusConfiguration) throws {
        var mine = configuration.configurationHash
        mine.append(littleEndian: UInt32(configuration.attempt))
        mine.append(littleEndian: Int64(configuration.firstStep))
        for limit in configuration.payloadLimits { mine.append(littleEndian: Int64(limit)) }
        let digests = try world.allGather(sha256(mine))
        let others = digests.indices.filter { digests[$0] != digests[0] }
        guard others.isEmpty else { throw BusError.configurationsDiffer(ranks: others) }
    }

    private static func exchange(_ card: BusSockets.Card, _ world: some Communicator) throws -> [BusSockets.Card] {
        let text = [card.publicKey, card.data, card.control].joined(separator: "\n")
        return try world.allGather(Array(text.utf8)).map { bytes in
            let fields = String(decoding: bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
            return BusSockets.Card(publicKey: String(fields[0]), data: String(fields[1]), control: String(fields[2]))
        }
    }

    /// Whether this rank's own control socket turns away a key that is not listed: the handler is asked and says no, and
    /// nothing of the stranger's arrives (within 100 ms, many times what a listed key needs).
    ///
    /// - Throws: ``BusError/timeout(what:rank:seconds:)`` where the handler is never asked; ``ZeroMQError``.
    static func refusesStrangers(_ sockets: BusSockets, keys: CurveKeys, within limit: Duration) throws -> Bool {
        let authenticator = sockets.messaging.authenticator
        let stranger = try ZeroMQSocket(sockets.messaging.context, .dealer, name: "the self-test's stranger")
        try stranger.secureAsClient(keys, serverKey: sockets.card.publicKey)
        try stranger.connect(sockets.card.control)
        _ = try stranger.send([[0]])
        var deadline = ContinuousClock.now + limit
        var (wasRefused, hasEntered) = (false, false)
        while ContinuousClock.now < deadline, !hasEntered {
            try sockets.poll(milliseconds: 10) { _ in hasEntered = true }
            if !wasRefused, let refused = authenticator.lastRefused, refused == CurveKeys.decode(keys.publicKey) {
                wasRefused = true
                deadline = .now + .milliseconds(100)
            }
        }
        guard wasRefused || hasEntered else {
            throw BusError.timeout(what: "an answer to the self-test's stranger", rank: sockets.rank, seconds: limit.seconds)
        }
        return !hasEntered
    }

    /// Proves every connection before the first step, and returns what has come of it already: who is ready first does not wait.
    ///
    /// A way that is not proved loses messages: a publisher's frames are lost until the subscription has arrived, and
    /// nothing says so. Every owner waits for a subscription from each peer, then sends probes until everybody has seen
    /// everybody's, on the control connections in both directions too.
    private static func shakeHands(
        _ sockets: BusSockets, _ world: some Communicator, _ configuration: BusConfiguration
    ) throws -> [BusSockets.Event] {
        let peers = Set(0..<world.size).subtracting([world.rank])
        let attempt = UInt32(configuration.attempt)
        let (probe, hello) = (
            FrameHeader(.probe, attempt: attempt, owner: world.rank).encoded,
            FrameHeader(.hello, attempt: attempt, owner: world.rank).encoded
        )
        func kind(of parts: [[UInt8]]) -> FrameHeader.Kind? { FrameHeader(decoding: parts[0])?.kind }
        var early: [BusSockets.Event] = []
        var subscriptions = 0
        var (probedBy, greetedBy, answeredBy): (Set<Int>, Set<Int>, Set<Int>) = ([], [], [])
        func handle(_ event: BusSockets.Event) throws {
            switch event {
            case .subscribed: subscriptions += 1
            case .published(let peer, let parts):
                probedBy.insert(peer)
                if kind(of: parts) != .probe { early.append(event) }
            case .replayed(let peer, _): answeredBy.insert(peer)
            case .asked(let peer, let parts):
                greetedBy.insert(peer)
                guard kind(of: parts) == .hello else { return early.append(event) }
                _ = try sockets.answer(peer, hello, [])
            case .garbage, .unsubscribed: break
            }
        }
        let start = ContinuousClock.now
        var nextProbe = start
        var everyone: Pending<PinnedElements<Int64>>?
        while try !(everyone?.isComplete() ?? false) {
            let now = ContinuousClock.now
            guard now - start < configuration.timing.setup else {
                let deaf = subscriptions < peers.count ? "\(peers.count - subscriptions) subscriptions, " : ""
                let silent = peers.subtracting(probedBy.intersection(greetedBy).intersection(answeredBy)).sorted()
                let what = silent.isEmpty ? "the other ranks' set-up" : "\(deaf)a sign of ranks \(silent) on the bus"
                throw BusError.timeout(what: what, rank: world.rank, seconds: configuration.timing.setup.seconds)
            }
            if now >= nextProbe {
                nextProbe = now + .milliseconds(250)
                if subscriptions >= peers.count { _ = try sockets.publish(probe, []) }
                for peer in peers.subtracting(answeredBy) { _ = try sockets.ask(peer, hello, []) }
            }
            let isReady = subscriptions >= peers.count && probedBy == peers && greetedBy == peers && answeredBy == peers
            if isReady, everyone == nil { everyone = try world.startAllReduce([1], .min) }
            let before = subscriptions
            try sockets.poll(milliseconds: 2, handle)
            if subscriptions != before, subscriptions >= peers.count { nextProbe = now }
        }
        return early
    }
}
