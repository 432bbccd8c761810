internal import CZeroMQ

/// Links through the relay of a group of ranks: two connections, however many ranks there are.
final class RelayedLinks: BusLinks {
    /// Messages taken from one socket before the other has its turn.
    private static let turn = 256
    /// See ``Relay``.
    private static let unlimited = 0

    let rank: Int
    let endpoints: PeerEndpoints
    /// The relay sees to it.
    let subscribers = 0
    private let messaging: MessagingContext
    private let topic: [UInt8]
    private let size: Int
    private let frames: ZeroMQSocket
    private let control: ZeroMQSocket
    /// Where this rank runs the group's.
    let relay: Relay?

    /// Connects to the relay.
    /// - Parameter endpoints: the relay's.
    init(
        _ messaging: MessagingContext, rank: Int, of size: Int, run: UInt64, endpoints: PeerEndpoints, _ relay: Relay?,
        payloadLimits: [Int]
    ) throws {
        (self.messaging, self.rank, self.size, self.endpoints, self.relay) = (messaging, rank, size, endpoints, relay)
        topic = BusTopology.topic(run)
        frames = try ZeroMQSocket(messaging.context, .subscriber, name: "rank \(rank)'s subscription")
        control = try ZeroMQSocket(messaging.context, .dealer, name: "rank \(rank)'s connection to its relay")
        try frames.set(ZMQ_SUBSCRIBE, String(decoding: topic, as: UTF8.self))
        try control.set(ZMQ_ROUTING_ID, "r\(rank)")
        for socket in [frames, control] {
            try socket.setHighWaterMark(Self.unlimited)
            try socket.setLargestMessage((payloadLimits.max() ?? 0) + 4096)
            // Where a relay has ended, whoever takes its name next is an unknown peer.
            try socket.set(ZMQ_RECONNECT_IVL, -1)
        }
        try frames.connect(endpoints.data)
        try control.connect(endpoints.control)
    }

    deinit { relay?.stop() }

    /// Itself: the way through the relay and back shows both directions.
    var correspondents: Set<Int> { [rank] }
    var refusedKeys: Int { relay?.refusedKeys ?? 0 }

    func publish(_ header: [UInt8], _ payload: [UInt8]) throws -> Bool {
        try send(Envelope(.frame, from: rank, to: rank), header, payload)
    }

    func ask(_ peer: Int, _ header: [UInt8], _ payload: [UInt8]) throws -> Bool {
        try send(Envelope(.request, from: rank, to: peer), header, payload)
    }

    func answer(_ peer: Int, _ header: [UInt8], _ payload: [UInt8]) throws -> Bool {
        try send(Envelope(.answer, from: rank, to: peer), header, payload)
    }

    private func send(_ envelope: Envelope, _ header: [UInt8], _ payload: [UInt8]) throws -> Bool {
        try control.send([envelope.encoded, header, payload]) == .queued
    }

    func poll(milliseconds: Int, _ handle: (BusEvent) throws -> Void) throws {
        try relay?.check()
        let ready = try ZeroMQSocket.poll([messaging.authenticator.socket, frames, control], milliseconds: milliseconds)
        if ready[0] { try messaging.authenticator.serve() }
        if ready[1] { try drain(frames, frame, handle) }
        if ready[2] { try drain(control, letter, handle) }
    }

    private func drain(
        _ socket: ZeroMQSocket, _ read: ([[UInt8]]) -> BusEvent?, _ handle: (BusEvent) throws -> Void
    ) throws {
        for _ in 0..<Self.turn {
            guard let message = try socket.receive() else { return }
            if let event = read(message.parts) { try handle(event) }
        }
    }

    /// A frame; nil for this rank's own.
    private func frame(_ parts: [[UInt8]]) -> BusEvent? {
        guard parts.count == 4, parts[0] == topic, let envelope = Envelope(decoding: parts[1]), envelope.kind == .frame,
            envelope.from < size
        else {
            return .garbage
        }
        return envelope.from == rank ? nil : .published(from: envelope.from, Array(parts[2...]))
    }

    /// A request, or an answer.
    private func letter(_ parts: [[UInt8]]) -> BusEvent? {
        guard parts.count == 3, let envelope = Envelope(decoding: parts[0]), envelope.to == rank, envelope.from < size else {
            return .garbage
        }
        switch envelope.kind {
        case .frame: return .garbage
        case .request: return .asked(by: envelope.from, Array(parts[1...]))
        case .answer: return .replayed(from: envelope.from, Array(parts[1...]))
        }
    }
}
