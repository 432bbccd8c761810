internal import CZeroMQ
internal import Collectives

/// Links of each rank to each: an XPUB whose frames all ranks get, a SUB per owner, a ROUTER that takes requests, a DEALER per
/// peer to make them.
final class DirectLinks: BusLinks, GuardedSocket {
    static let authenticationDomain = "bus"
    /// Messages taken from one socket before the others have their turn.
    private static let turn = 256
    private static let controlLimit = 65_536
    /// What a peer sends ahead of the sync step is bounded already. A rank that computes while a bounded pipe fills up would
    /// miss heartbeats, and libzmq 4.3 aborts a receiver whose full connection is made anew.
    private static let unlimited = 0

    let rank: Int
    let messaging: MessagingContext
    let keys: CurveKeys?
    private(set) var endpoints: PeerEndpoints
    private let topic: [UInt8]
    private let data: ZeroMQSocket
    private let control: ZeroMQSocket
    private var subscriptions: [(rank: Int, socket: ZeroMQSocket)] = []
    private var dealers: [(rank: Int, socket: ZeroMQSocket)] = []
    private let largestPayload: Int
    private let highWaterMark: Int

    /// Binds this rank's two sockets.
    /// - Parameter bindings: endpoints to bind, for frames and for requests. `keys` nil: no encryption.
    init(
        _ messaging: MessagingContext, rank: Int, run: UInt64, bindings: (data: String, control: String), keys: CurveKeys?,
        payloadLimits: [Int]
    ) throws {
        (self.messaging, self.rank, self.keys) = (messaging, rank, keys)
        topic = BusTopology.topic(run)
        largestPayload = payloadLimits.max() ?? 0
        highWaterMark = 2 * payloadLimits.count + 64
        data = try ZeroMQSocket(messaging.context, .verbosePublisher, name: "rank \(rank)'s publisher")
        control = try ZeroMQSocket(messaging.context, .router, name: "rank \(rank)'s control socket")
        try data.set(ZMQ_XPUB_VERBOSE, 1)
        try data.set(ZMQ_XPUB_NODROP, 1)
        try control.set(ZMQ_ROUTER_MANDATORY, 1)
        for (socket, limit) in [(data, 4096), (control, Self.controlLimit)] {
            try socket.setHighWaterMark(highWaterMark, receiving: Self.unlimited)
            try socket.setLargestMessage(limit)
            if let keys {
                try socket.secureAsServer(keys, domain: Self.authenticationDomain)
                try socket.setHeartbeats()
            } else {
                try socket.admitOwnUserOnly()
            }
            // All peers may connect at once.
            try socket.set(ZMQ_BACKLOG, 4096)
        }
        endpoints = PeerEndpoints(publicKey: keys?.publicKey ?? "", data: try data.bind(bindings.data))
        endpoints.control = try control.bind(bindings.control)
    }

    /// Connects to the other ranks; `all` by rank.
    func connect(to all: [PeerEndpoints]) throws {
        for (peer, endpoints) in all.enumerated() where peer != rank {
            let subscriber = try ZeroMQSocket(messaging.context, .subscriber, name: "subscription to rank \(peer)")
            let dealer = try ZeroMQSocket(messaging.context, .dealer, name: "control connection to rank \(peer)")
            try subscriber.set(ZMQ_SUBSCRIBE, String(decoding: topic, as: UTF8.self))
            try dealer.set(ZMQ_ROUTING_ID, "r\(rank)")
            for socket in [subscriber, dealer] {
                try socket.setHighWaterMark(highWaterMark, receiving: Self.unlimited)
                try socket.setLargestMessage(largestPayload + 4096)
                if let keys {
                    try socket.secureAsClient(keys, serverKey: endpoints.publicKey)
                    try socket.setHeartbeats()
                } else {
                    // Where a rank has ended, whoever takes its name next is an unknown peer.
                    try socket.set(ZMQ_RECONNECT_IVL, -1)
                }
            }
            try subscriber.connect(endpoints.data)
            try dealer.connect(endpoints.control)
            subscriptions.append((peer, subscriber))
            dealers.append((peer, dealer))
        }
    }

    var subscribers: Int { subscriptions.count }
    var correspondents: Set<Int> { Set(dealers.map(\.rank)) }
    var refusedKeys: Int { messaging.authenticator.refused }
    var door: (endpoint: String, publicKey: String) { (endpoints.control, endpoints.publicKey) }

    func hasEntered(milliseconds: Int) throws -> Bool {
        var result = false
        try poll(milliseconds: milliseconds) { _ in result = true }
        return result
    }

    // MARK: Sending

    /// To all ranks; false when one of them has no room.
    func publish(_ header: [UInt8], _ payload: [UInt8]) throws -> Bool { try data.send([topic, header, payload]) == .queued }

    /// To the rank's ROUTER.
    func ask(_ peer: Int, _ header: [UInt8], _ payload: [UInt8]) throws -> Bool {
        guard let dealer = dealers.first(where: { $0.rank == peer }) else { return false }
        return try dealer.socket.send([header, payload]) == .queued
    }

    /// To the rank's DEALER, which has asked before.
    func answer(_ peer: Int, _ header: [UInt8], _ payload: [UInt8]) throws -> Bool {
        try control.send([Array("r\(peer)".utf8), header, payload]) == .queued
    }

    // MARK: Receiving

    /// Waits for messages at most so long and passes on what there is; serves the ZAP handler.
    func poll(milliseconds: Int, _ handle: (BusEvent) throws -> Void) throws {
        let authenticator = messaging.authenticator
        let sockets = [authenticator.socket, data, control] + subscriptions.map(\.socket) + dealers.map(\.socket)
        let ready = try ZeroMQSocket.poll(sockets, milliseconds: milliseconds)
        if ready[0] { try authenticator.serve() }
        if ready[1] { try drain(data) { try handle(subscription($0)) } }
        if ready[2] { try drain(control) { try handle(question($0)) } }
        for (i, subscriber) in subscriptions.enumerated() where ready[3 + i] {
            try drain(subscriber.socket) { message in
                let isOurs = message.parts.count == 3 && message.parts[0] == topic
                try handle(isOurs ? .published(from: subscriber.rank, Array(message.parts[1...])) : .garbage)
            }
        }
        for (i, dealer) in dealers.enumerated() where ready[3 + subscriptions.count + i] {
            try drain(dealer.socket) { message in
                try handle(message.parts.count == 2 ? .replayed(from: dealer.rank, message.parts) : .garbage)
            }
        }
    }

    private func drain(_ socket: ZeroMQSocket, _ handle: (ZeroMQMessage) throws -> Void) throws {
        for _ in 0..<Self.turn {
            guard let message = try socket.receive() else { return }
            try handle(message)
        }
    }

    /// A subscription is the byte 1 and the topic, its end the byte 0. Of a connection that is gone libzmq itself says the end,
    /// so that message has no sender; nobody who was not admitted had anything to end.
    private func subscription(_ message: ZeroMQMessage) -> BusEvent {
        if message.parts == [[0] + topic] { return .unsubscribed }
        return isRank(message.userID) && message.parts == [[1] + topic] ? .subscribed : .garbage
    }

    private func question(_ message: ZeroMQMessage) -> BusEvent {
        guard message.parts.count == 3, let peer = dealers.first(where: { message.parts[0] == Array("r\($0.rank)".utf8) })
        else {
            return .garbage
        }
        // With keys, the name a peer gives itself must be the one its key is listed under.
        if keys != nil, message.userID != "\(peer.rank)" { return .garbage }
        return .asked(by: peer.rank, Array(message.parts[1...]))
    }

    private func isRank(_ userID: String?) -> Bool { keys == nil || userID.flatMap { Int($0) } != nil }
}
