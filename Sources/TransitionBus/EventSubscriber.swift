internal import CZeroMQ

/// A monitor's side of ``EventPublisher``: first the newest value of every key, then what changes; after a gap it asks again.
package final class EventSubscriber {
    private let messaging: MessagingContext
    private let keys: CurveKeys?
    private let serverKey: String?
    private let snapshots: ZeroMQSocket
    private var events: ZeroMQSocket?
    /// Sequence of the newest event known, per key and of all.
    private var known: [String: UInt64] = [:]
    private var last: UInt64 = 0
    private var nextRequest = ContinuousClock.now

    /// - Parameters:
    ///   - endpoint: as ``EventPublisher/endpoint`` gives it.
    ///   - keys: the monitor's, where the publisher has keys; with the publisher's public key.
    package init(_ endpoint: String, keys: CurveKeys? = nil, serverKey: String? = nil) throws {
        messaging = try MessagingContext()
        (self.keys, self.serverKey) = (keys, serverKey)
        snapshots = try ZeroMQSocket(messaging.context, .dealer, name: "the request for a snapshot")
        try secure(snapshots)
        try snapshots.connect(endpoint)
    }

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
        _ = try ZeroMQSocket.poll([snapshots] + (events.map { [$0] } ?? []), milliseconds: milliseconds)
        var result: [RunEvent] = []
        while let message = try snapshots.receive() {
            if let event = RunEvent(message.parts) { take(event, into: &result) } else { try finishSnapshot(message.parts) }
        }
        while let message = try events?.receive() {
            guard message.parts.first == EventPublisher.topic, let event = RunEvent(message.parts.dropFirst()) else { continue }
            if event.sequence > last + 1 { nextRequest = now }
            last = max(last, event.sequence)
            take(event, into: &result)
        }
        return result
    }

    private func take(_ event: RunEvent, into result: inout [RunEvent]) {
        guard event.sequence > known[event.key] ?? 0 else { return }
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
