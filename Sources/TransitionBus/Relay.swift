internal import CZeroMQ
internal import Glibc
internal import Support
internal import Synchronization

/// Passes on what the ranks of a group send to all and to each other: one rank of the group runs it, on a thread of its own, so
/// that nothing waits for that rank's computing.
///
/// A frame of a rank in the group goes to all of the group and to every other relay; what comes from another relay stays in the
/// group. Order is kept on every way. Nothing is stored: what is lost here the ranks find and ask for as anywhere else. Queues
/// have no limit, since what ranks send ahead of the sync step is bounded; a rank that does not read holds up nobody.
///
/// The relay vouches for senders: a rank of its group by the name its connection has (only processes of this user may connect),
/// another relay by its key, for the ranks of its own group alone.
final class Relay: GuardedSocket, @unchecked Sendable {
    static let authenticationDomain = "relays"
    /// Messages taken from one socket before the other has its turn.
    private static let turn = 256

    let messaging: MessagingContext
    let rank: Int
    private let number: Int
    private let topology: BusTopology
    private let topic: [UInt8]
    private let keys: CurveKeys?
    private(set) var endpoints: PeerEndpoints
    /// Frames to the ranks of the group; what they send and what is for one of them; from other relays; to other relays.
    private let frames: ZeroMQSocket
    private let ranks: ZeroMQSocket
    private let inlet: ZeroMQSocket
    private var outlets: [Int: ZeroMQSocket] = [:]
    /// The group that each rank belongs to.
    private let groups: [Int]
    private let largestPayload: Int

    private let refused = Atomic<Int>(0)
    private let malformed = Atomic<Int>(0)
    private let failure = Mutex<(any Error)?>(nil)

    /// Connections turned away for lack of a listed key.
    var refusedKeys: Int { refused.load(ordering: .relaxed) }
    /// Messages dropped: of the wrong form, or from an unlisted peer.
    var dropped: Int { malformed.load(ordering: .relaxed) }

    /// Binds, but does not serve yet.
    /// - Parameter endpoint: what other relays connect to. `keys` nil: no encryption between relays.
    init(
        rank: Int, run: UInt64, _ topology: BusTopology, endpoint: String, keys: CurveKeys?, payloadLimits: [Int]
    ) throws {
        messaging = try MessagingContext()
        (self.rank, self.topology, self.keys) = (rank, topology, keys)
        groups = topology.groupByRank
        number = topology.groupByRank[rank]
        topic = BusTopology.topic(run)
        largestPayload = payloadLimits.max() ?? 0
        frames = try ZeroMQSocket(messaging.context, .publisher, name: "relay \(number)'s publisher")
        ranks = try ZeroMQSocket(messaging.context, .router, name: "relay \(number)'s ranks")
        inlet = try ZeroMQSocket(messaging.context, .router, name: "relay \(number)'s peers")
        for socket in [frames, ranks, inlet] {
            try socket.setHighWaterMark(0)
            try socket.setLargestMessage(largestPayload + 4096)
            try socket.set(ZMQ_BACKLOG, 4096)
        }
        for socket in [frames, ranks] { try socket.admitOwnUserOnly() }
        if let keys {
            try inlet.secureAsServer(keys, domain: Self.authenticationDomain)
            try inlet.setHeartbeats()
        } else {
            try inlet.admitOwnUserOnly()
        }
        endpoints = PeerEndpoints(publicKey: keys?.publicKey ?? "")
        endpoints.data = try frames.bind(Endpoints.local(run: run, "f\(number)"))
        endpoints.control = try ranks.bind(Endpoints.local(run: run, "r\(number)"))
        endpoints.relay = try inlet.bind(endpoint)
    }

    /// Connects to the other relays, and lets them in; `all` by group.
    func connect(to all: [PeerEndpoints]) throws {
        for (peer, endpoints) in all.enumerated() where peer != number {
            if keys != nil {
                try messaging.authenticator.allow(endpoints.publicKey, domain: Self.authenticationDomain, as: "\(peer)")
            }
            let outlet = try ZeroMQSocket(messaging.context, .dealer, name: "connection to relay \(peer)")
            try outlet.set(ZMQ_ROUTING_ID, "g\(number)")
            try outlet.setHighWaterMark(0)
            if let keys {
                try outlet.secureAsClient(keys, serverKey: endpoints.publicKey)
                try outlet.setHeartbeats()
            } else {
                try outlet.set(ZMQ_RECONNECT_IVL, -1)
            }
            try outlet.connect(endpoints.relay)
            outlets[peer] = outlet
        }
    }

    var door: (endpoint: String, publicKey: String) { (endpoints.relay, endpoints.publicKey) }

    func hasEntered(milliseconds: Int) throws -> Bool {
        let ready = try ZeroMQSocket.poll([messaging.authenticator.socket, inlet], milliseconds: milliseconds)
        if ready[0] { try messaging.authenticator.serve() }
        return try ready[1] && inlet.receive() != nil
    }

    // MARK: The thread

    /// Serves on a thread of its own until ``stop()``.
    func start() throws(ZeroMQError) {
        refused.store(messaging.authenticator.refused, ordering: .relaxed)
        do throws(SystemThread.Refused) {
            pthread_detach(try SystemThread.start { self.serve() })
        } catch {
            throw ZeroMQError(operation: "pthread_create", subject: "relay \(number)", code: error.code)
        }
    }

    /// Ends the thread; nothing is passed on any more.
    func stop() { messaging.context.shutDown() }

    /// - Throws: what has ended the thread.
    func check() throws { if let error = failure.withLock({ $0 }) { throw error } }

    private func serve() {
        do {
            while true {
                let ready = try ZeroMQSocket.poll([messaging.authenticator.socket, ranks, inlet], milliseconds: -1)
                if ready[0] {
                    try messaging.authenticator.serve()
                    refused.store(messaging.authenticator.refused, ordering: .relaxed)
                }
                if ready[1] { try drain(ranks, sender: rankInGroup) }
                if ready[2] { try drain(inlet, sender: peerOfRank) }
            }
        } catch let error as ZeroMQError where error.code == ZeroMQError.contextEnded {
            // Told to stop.
        } catch {
            failure.withLock { $0 = error }
        }
    }

    private func drain(_ socket: ZeroMQSocket, sender isRight: (Envelope, ZeroMQMessage) -> Bool) throws {
        for _ in 0..<Self.turn {
            guard let message = try socket.receive() else { return }
            // Parts: who sends, envelope, header, payload.
            guard message.parts.count == 4, let envelope = Envelope(decoding: message.parts[1]), isRight(envelope, message),
                groups.indices.contains(envelope.to)
            else {
                malformed.add(1, ordering: .relaxed)
                continue
            }
            try pass(envelope, Array(message.parts[1...]), fromGroup: socket === ranks)
        }
    }

    /// Whether a message comes from the rank of this group that it names.
    private func rankInGroup(_ envelope: Envelope, _ message: ZeroMQMessage) -> Bool {
        groups.indices.contains(envelope.from) && groups[envelope.from] == number
            && message.parts[0] == Array("r\(envelope.from)".utf8)
    }

    /// Whether a message comes from the relay of the rank that it names, for this group.
    private func peerOfRank(_ envelope: Envelope, _ message: ZeroMQMessage) -> Bool {
        guard groups.indices.contains(envelope.from), groups[envelope.from] != number else { return false }
        let peer = groups[envelope.from]
        if keys != nil, message.userID != "\(peer)" { return false }
        guard message.parts[0] == Array("g\(peer)".utf8) else { return false }
        return envelope.kind == .frame || groups.indices.contains(envelope.to) && groups[envelope.to] == number
    }

    private func pass(_ envelope: Envelope, _ parts: [[UInt8]], fromGroup: Bool) throws {
        switch envelope.kind {
        case .frame:
            _ = try frames.send([topic] + parts)
            guard fromGroup else { return }
            for outlet in outlets.values { _ = try outlet.send(parts) }
        case .request, .answer:
            let group = groups[envelope.to]
            if group == number {
                // Dropped where the rank is not there any more.
                _ = try ranks.send([Array("r\(envelope.to)".utf8)] + parts)
            } else {
                _ = try outlets[group]?.send(parts)
            }
        }
    }
}
