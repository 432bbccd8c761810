internal import CZeroMQ
internal import Glibc
internal import Support

/// One thing a monitor may want to show: the newest value under a key, such as `step` or `layer/model.layers.0.mlp.up_proj`.
package struct RunEvent: Equatable, Sendable {
    /// Position among all events of the run.
    package let sequence: UInt64
    package let key: String
    /// A JSON value.
    package let json: [UInt8]
}

/// What rank 0 tells monitors: every event once over a PUB socket that drops what a monitor does not read, and the newest
/// value of every key, on request, over a ROUTER (a late joiner asks for it; so does one that has missed something).
///
/// On loopback anyone on this machine may watch; any other address needs keys, and a list of the monitors' keys.
package final class EventPublisher {
    static let authenticationDomain = "events"
    static let topic = Array("E/".utf8)
    static let request = Array("snapshot".utf8)
    /// Events waiting per monitor, beyond which it loses them.
    private static let highWaterMark = 1000
    /// Requests answered per poll.
    private static let turn = 16

    private let events: ZeroMQSocket
    private let snapshots: ZeroMQSocket
    private let eventsEndpoint: String
    /// What to give to `sq-train watch`.
    package let endpoint: String
    /// The newest event of each key.
    private var newest: [String: RunEvent] = [:]
    private var sequence: UInt64 = 0

    /// - Parameters:
    ///   - address: interface name or IPv4 address.
    ///   - port: for snapshots, the next one being for events; nil: any two that are free.
    ///   - keys: needed for any address but loopback, with the public keys of `monitors`.
    package init(
        _ messaging: MessagingContext, address: String = "127.0.0.1", port: Int? = nil, keys: CurveKeys? = nil,
        monitors: [String] = []
    ) throws {
        if keys == nil, !Self.isLoopback(address) {
            throw BusError.unsuitable(
                setting: "events.endpoint", rule: "`\(address)` is not loopback, so it needs a key file: set events.keys")
        }
        try Endpoints.check(address)
        if keys != nil {
            for monitor in monitors {
                try messaging.authenticator.allow(monitor, domain: Self.authenticationDomain, as: "monitor")
            }
        }
        events = try ZeroMQSocket(messaging.context, .publisher, name: "the events' publisher")
        snapshots = try ZeroMQSocket(messaging.context, .router, name: "the events' snapshots")
        self.messaging = messaging
        for socket in [events, snapshots] {
            try socket.setHighWaterMark(Self.highWaterMark)
            try socket.setLargestMessage(1024)
            try socket.setHeartbeats()
            if let keys { try socket.secureAsServer(keys, domain: Self.authenticationDomain) }
        }
        eventsEndpoint = try Self.bind(events, address, port.map { $0 + 1 })
        endpoint = try Self.bind(snapshots, address, port)
    }

    /// - Throws: ``BusError/unsuitable(setting:rule:)`` for a port that was named and cannot be had: no other try gets it.
    private static func bind(_ socket: ZeroMQSocket, _ address: String, _ port: Int?) throws -> String {
        do throws(ZeroMQError) {
            return try socket.bind("tcp://\(address):\(port.map(String.init) ?? "*")")
        } catch {
            guard let port, [EADDRINUSE, EACCES].contains(error.code) else { throw error }
            let why = error.code == EACCES ? "may not be used by this user" : "is taken by another process"
            throw BusError.unsuitable(
                setting: "events.endpoint",
                rule: "port \(port) of \(address) \(why); name another port, which is used with the one after it, or auto")
        }
    }

    private let messaging: MessagingContext

    /// Whether only this machine reaches an address.
    package static func isLoopback(_ address: String) -> Bool { address == "127.0.0.1" || address == "lo" }

    /// Gives monitors half a second to receive the last events when the publisher ends, which it otherwise does at once.
    package func linger() throws { for socket in [events, snapshots] { try socket.set(ZMQ_LINGER, 500) } }

    /// Sends to all who watch and read; never waits.
    package func publish(_ key: String, json: [UInt8]) throws {
        sequence += 1
        let event = RunEvent(sequence: sequence, key: key, json: json)
        newest[key] = event
        _ = try events.send([Self.topic] + event.parts)
    }

    /// Answers monitors that ask for the newest values, without waiting.
    package func poll() throws {
        try messaging.authenticator.serve()
        for _ in 0..<Self.turn {
            guard let message = try snapshots.receive() else { return }
            guard message.parts.count == 2, message.parts[1] == Self.request else { continue }
            let monitor = message.parts[0]
            for event in newest.values.sorted(by: { $0.sequence < $1.sequence }) {
                _ = try snapshots.send([monitor] + event.parts)
            }
            var last: [UInt8] = []
            last.append(littleEndian: sequence)
            _ = try snapshots.send([monitor, last, Array(eventsEndpoint.utf8)])
        }
    }
}

extension RunEvent {
    /// Sequence (u64, little-endian), key, JSON.
    var parts: [[UInt8]] {
        var number: [UInt8] = []
        number.append(littleEndian: sequence)
        return [number, Array(key.utf8), json]
    }

    init?(_ parts: some Collection<[UInt8]>) {
        let parts = Array(parts)
        guard parts.count == 3, parts[0].count == 8 else { return nil }
        sequence = parts[0].littleEndian(at: 0)
        key = String(decoding: parts[1], as: UTF8.self)
        json = parts[2]
    }
}
