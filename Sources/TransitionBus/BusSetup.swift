internal import CZeroMQ
internal import Collectives
internal import Glibc
internal import Support

/// From nothing to connections that are known to work, within a minute; every step is taken by all ranks.
enum BusSetup {
    static func open(
        _ world: some Communicator, _ configuration: BusConfiguration, _ messaging: MessagingContext
    ) throws -> (any BusLinks, early: [BusEvent]) {
        try agreeOnConfiguration(world, configuration)
        let route = try BusRoute.find(configuration.route, over: world)
        try route.check()
        let run = UInt64(bitPattern: try world.broadcast(Int64.random(in: .min ... .max)))
        let links: any BusLinks =
            route.topology.form == .relay
            ? try relayed(world, configuration, messaging, route, run)
            : try direct(world, configuration, messaging, route, run)
        return (links, try shakeHands(links, world, configuration))
    }

    private static func direct(
        _ world: some Communicator, _ configuration: BusConfiguration, _ messaging: MessagingContext, _ route: BusRoute,
        _ run: UInt64
    ) throws -> DirectLinks {
        let links = try DirectLinks(
            messaging, rank: world.rank, run: run,
            bindings: (route.endpoint(run: run, "d\(world.rank)"), route.endpoint(run: run, "c\(world.rank)")),
            keys: route.isEncrypted ? .generate() : nil, payloadLimits: configuration.payloadLimits)
        let all = try world.allGather(links.endpoints.encoded).map(PeerEndpoints.init(decoding:))
        if route.isEncrypted {
            for (rank, endpoints) in all.enumerated() {
                try messaging.authenticator.allow(endpoints.publicKey, domain: DirectLinks.authenticationDomain, as: "\(rank)")
            }
            try test(links, world, configuration)
        }
        try links.connect(to: all)
        return links
    }

    private static func relayed(
        _ world: some Communicator, _ configuration: BusConfiguration, _ messaging: MessagingContext, _ route: BusRoute,
        _ run: UInt64
    ) throws -> RelayedLinks {
        let topology = route.topology
        let number = topology.groupByRank[world.rank]
        var relay: Relay?
        if topology.groups[number][0] == world.rank {
            relay = try Relay(
                rank: world.rank, run: run, topology, endpoint: route.endpoint(run: run, "p\(number)"),
                keys: route.isEncrypted ? .generate() : nil, payloadLimits: configuration.payloadLimits)
        }
        let all = try world.allGather((relay?.endpoints ?? PeerEndpoints()).encoded).map(PeerEndpoints.init(decoding:))
        let relays = topology.groups.map { all[$0[0]] }
        if route.isEncrypted { try test(relay, world, configuration) }
        try relay?.connect(to: relays)
        try relay?.start()
        return try RelayedLinks(
            messaging, rank: world.rank, of: world.size, run: run, endpoints: relays[number], relay,
            payloadLimits: configuration.payloadLimits)
    }

    /// Ends the run where an unlisted key gets in at any rank. Collective.
    private static func test(
        _ socket: (any GuardedSocket)?, _ world: some Communicator, _ configuration: BusConfiguration
    ) throws {
        let isSafe =
            try socket.map { try refusesUnlistedKeys($0, keys: .generate(), within: configuration.timing.setup) } ?? true
        let safe = try world.allGather(Int64(isSafe ? 1 : 0))
        if let rank = safe.firstIndex(of: 0) { throw BusError.unlistedKeyAdmitted(rank: rank) }
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

    /// Whether a socket of this rank turns away a key that is not listed: the handler is asked and refuses it, and nothing of
    /// the unlisted peer's arrives (within 100 ms, many times what a listed key needs).
    ///
    /// - Throws: ``BusError/timeout(what:rank:seconds:)`` where the handler is never asked; ``ZeroMQError``.
    static func refusesUnlistedKeys(_ socket: some GuardedSocket, keys: CurveKeys, within limit: Duration) throws -> Bool {
        let authenticator = socket.messaging.authenticator
        let unlisted = try ZeroMQSocket(socket.messaging.context, .dealer, name: "the self-test's unlisted peer")
        try unlisted.secureAsClient(keys, serverKey: socket.door.publicKey)
        try unlisted.connect(socket.door.endpoint)
        _ = try unlisted.send([[0]])
        var deadline = ContinuousClock.now + limit
        var (wasRefused, hasEntered) = (false, false)
        while ContinuousClock.now < deadline, !hasEntered {
            hasEntered = try socket.hasEntered(milliseconds: 10)
            if !wasRefused, let refused = authenticator.lastRefused, refused == CurveKeys.decode(keys.publicKey) {
                wasRefused = true
                deadline = .now + .milliseconds(100)
            }
        }
        guard wasRefused || hasEntered else {
            throw BusError.timeout(
                what: "an answer to the self-test's unlisted peer", rank: socket.rank, seconds: limit.seconds)
        }
        return !hasEntered
    }

    /// Proves every connection before the first step, and returns what has come of it already: who is ready first does not
    /// wait.
    ///
    /// A way that is not proved loses messages: a publisher's frames are lost until the subscription has arrived, and
    /// nothing says so. Every owner waits for the subscriptions to its frames, then sends probes until everybody has seen
    /// everybody's, and asks its correspondents until each has asked and answered.
    private static func shakeHands(
        _ links: some BusLinks, _ world: some Communicator, _ configuration: BusConfiguration
    ) throws -> [BusEvent] {
        let peers = Set(0..<world.size).subtracting([world.rank])
        let attempt = UInt32(configuration.attempt)
        let (probe, hello) = (
            FrameHeader(.probe, attempt: attempt, owner: world.rank).encoded,
            FrameHeader(.hello, attempt: attempt, owner: world.rank).encoded
        )
        func kind(of parts: [[UInt8]]) -> FrameHeader.Kind? { FrameHeader(decoding: parts[0])?.kind }
        var early: [BusEvent] = []
        var subscriptions = 0
        let correspondents = links.correspondents
        var (probedBy, greetedBy, answeredBy): (Set<Int>, Set<Int>, Set<Int>) = ([], [], [])
        func handle(_ event: BusEvent) throws {
            switch event {
            case .subscribed: subscriptions += 1
            case .published(let peer, let parts):
                probedBy.insert(peer)
                if kind(of: parts) != .probe { early.append(event) }
            case .replayed(let peer, _): answeredBy.insert(peer)
            case .asked(let peer, let parts):
                greetedBy.insert(peer)
                guard kind(of: parts) == .hello else { return early.append(event) }
                _ = try links.answer(peer, hello, [])
            case .garbage, .unsubscribed: break
            }
        }
        let start = ContinuousClock.now
        var (nextProbe, pause) = (start, Duration.milliseconds(250))
        var everyone: Pending<PinnedElements<Int64>>?
        while try !(everyone?.isComplete() ?? false) {
            let now = ContinuousClock.now
            guard now - start < configuration.timing.setup else {
                let deaf = subscriptions < links.subscribers ? "\(links.subscribers - subscriptions) subscriptions, " : ""
                let silent = peers.subtracting(probedBy).union(correspondents.subtracting(greetedBy.intersection(answeredBy)))
                    .sorted()
                let what = silent.isEmpty ? "the other ranks' set-up" : "\(deaf)a sign of ranks \(silent) on the bus"
                throw BusError.timeout(what: what, rank: world.rank, seconds: configuration.timing.setup.seconds)
            }
            if now >= nextProbe {
                nextProbe = now + pause
                pause = min(pause * 2, .seconds(2))
                if subscriptions >= links.subscribers { _ = try links.publish(probe, []) }
                for peer in correspondents.subtracting(answeredBy) { _ = try links.ask(peer, hello, []) }
            }
            let isReady =
                subscriptions >= links.subscribers && probedBy == peers && greetedBy == correspondents
                && answeredBy == correspondents
            if isReady, everyone == nil { everyone = try world.startAllReduce([1], .min) }
            let before = subscriptions
            try links.poll(milliseconds: 2, handle)
            if subscriptions != before, subscriptions >= links.subscribers { nextProbe = now }
        }
        return early
    }
}
