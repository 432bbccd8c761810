internal import CZeroMQ
internal import Support

/// A monitor's side of ``EventPublisher``: first the newest value of every key, then what changes; after a gap it asks again.
package final class EventSubscriber {
    private let messaging: MessagingContext
    private let keys: CurveKeys?
    private let serverKey: String?
    private let snapshots: ZeroMQSocket
    private let connections: ZeroMQSocket
    private var events: ZeroMQSocket?
    private static let mostKeys = 100_000
    /// Sequence of the newest event known, per key and of all.
    private var known: [String: UInt64] = [:]
    private var last: UInt64 = 0
    private var nextRequest = ContinuousClock.now
    /// What has become of the connection to the publisher.
    package private(set) var connection = Connection.none(since: .now)

    /// How the connection to the publisher stands.
    package enum Connection: Equatable {
        case none(since: ContinuousClock.Instant)
        case open
        /// The publisher needs a key, another key, or no key.
        case refused
    }

    /// - Parameters:
    ///   - endpoint: as ``EventPublisher/endpoint`` gives it.
    ///   - keys: the monitor's, where the publisher has keys; with the publisher's public key.
    package init(_ endpoint: String, keys: CurveKeys? = nil, serverKey: String? = nil) throws {
        messaging = try MessagingContext()
        (self.keys, self.serverKey) = (keys, serverKey)
        snapshots = try ZeroMQSocket(messaging.context, .dealer, name: "the request for a snapshot")
        connections = try ZeroMQSocket(messaging.context, .pair, name: "the connection's state")
        try secure(snapshots)
        try snapshots.reportConnections(to: Self.connectionReports)
        try connections.connect(Self.connectionReports)
        try snapshots.connect(endpoint)
    }

    private static let connectionReports = "inproc://connection"

    private func secure(_ socket: ZeroMQSocket) throws {
        try socket.setLargestMessage(1 << 20)
        try socket.setHeartbeats()
        if let keys, let serverKey { try socket.secureAsClient(keys, serverKey: serverKey) }
    }

    /// What is new, within this time; each event once, though not each intermediate value.
    package func next(milliseconds: Int) throws -> [RunEvent] {
        let now = ContinuousClock.now
        if now >= nextRequest, try snapshots.send([EventPublisher.request]) == .queued {
            // Also the way to notice that the last events before a silence were lost.
            nextRequest = now + .seconds(2)
        }
        _ = try ZeroMQSocket.poll([snapshots, connections] + (events.map { [$0] } ?? []), milliseconds: milliseconds)
        while let report = try connections.receive() { note(report.parts) }
        var result: [RunEvent] = []
        while let message = try snapshots.receive() {
            if let event = RunEvent(message.parts) { take(event, into: &result) } else { try finishSnapshot(message.parts) }
        }
        while let message = try events?.receive() {
            guard message.parts.first == EventPublisher.topic, let event = RunEvent(message.parts.dropFirst()) else { continue }
            if event.sequence > last, event.sequence - last > 1 { nextRequest = now }
            last = max(last, event.sequence)
            take(event, into: &result)
        }
        return result
    }

    /// A report of libzmq: the event as u16 and a value as u32, in this machine's order; then the address.
    private func note(_ report: [[UInt8]]) {
        guard let first = report.first, first.count == 6 else { return }
        switch Int32(first.littleEndian(at: 0, UInt16.self)) {
        case ZMQ_EVENT_HANDSHAKE_SUCCEEDED: connection = .open
        case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH, ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL: connection = .refused
        case ZMQ_EVENT_DISCONNECTED where connection == .open:
            connection = .none(since: .now)
            // Whoever answers next may be another start of the run, which counts its events anew.
            (known, last, events, nextRequest) = ([:], 0, nil, .now)
        default: break
        }
    }

    private func take(_ event: RunEvent, into result: inout [RunEvent]) {
        // A run has few keys; an unknown sender must not be able to fill the memory.
        guard event.sequence > known[event.key] ?? 0, known[event.key] != nil || known.count < Self.mostKeys else { return }
        known[event.key] = event.sequence
        result.append(event)
    }

    /// The end of a snapshot: its sequence, and where the events are.
    private func finishSnapshot(_ parts: [[UInt8]]) throws {
        guard parts.count == 2, parts[0].count == 8 else { return }
        last = max(last, parts[0].littleEndian(at: 0))
        guard events == nil else { return }
        let socket = try ZeroMQSocket(messaging.context, .subscriber, name: "the events")
        try secure(socket)
        try socket.set(ZMQ_SUBSCRIBE, String(decoding: EventPublisher.topic, as: UTF8.self))
        try socket.connect(String(decoding: parts[1], as: UTF8.self))
        events = socket
        // What happens until the subscription has arrived is lost: fetch it.
        nextRequest = .now + .milliseconds(200)
    }
}
