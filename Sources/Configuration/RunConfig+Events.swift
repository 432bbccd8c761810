internal import Glibc
internal import TransitionBus

/// Where monitors connect to a run.
package enum EventEndpoint: SettingValue {
    /// Loopback, at a port that is free.
    case automatic
    case none
    /// An interface's name or IPv4 address.
    case tcp(address: String, port: Int)

    package static let expectation = "auto, none, or tcp://ADDRESS:PORT with the address of one interface"
    package static let isText = true

    package init?(settingText text: String) {
        switch text {
        case "auto": self = .automatic
        case "none": self = .none
        default:
            let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
            // The port after it is used, too.
            guard parts.count == 3, parts[0] == "tcp", parts[1].hasPrefix("//"), let port = Int(parts[2]),
                (1...65_534).contains(port),
                String(port) == parts[2], Self.isAddress(String(parts[1].dropFirst(2)))
            else { return nil }
            self = .tcp(address: String(parts[1].dropFirst(2)), port: port)
        }
    }

    /// An IPv4 address, or a name as interfaces and machines have it. What would listen everywhere is none.
    private static func isAddress(_ text: String) -> Bool {
        if text.utf8.allSatisfy({ "0123456789.".utf8.contains($0) }) {
            var address = in_addr()
            return inet_pton(AF_INET, text, &address) == 1 && address.s_addr != 0
        }
        func isAlphanumeric(_ byte: UInt8?) -> Bool { byte.map { isalnum(Int32($0)) != 0 } ?? false }
        return isAlphanumeric(text.utf8.first) && text.utf8.allSatisfy { isAlphanumeric($0) || "-._".utf8.contains($0) }
    }

    /// Whether it names one.
    package var isAddress: Bool { if case .tcp = self { true } else { false } }

    package var settingText: String {
        switch self {
        case .automatic: "auto"
        case .none: "none"
        case .tcp(let address, let port): "tcp://\(address):\(port)"
        }
    }
}

/// What a run tells monitors (`sq-train watch`).
package struct EventSettings: Sendable, Equatable {
    package var endpoint: EventEndpoint
    /// A `KeyFile`.
    package var keys: String?

    init(_ key: Settings) {
        endpoint = key(
            "endpoint", .automatic,
            "where sq-train watch connects; auto: at a free port for this machine's users, which the run names")
        keys = key.path(
            "keys", orElse: "none",
            "this run's key file (sq-train watch --new-key), with a line `peer KEY` for each monitor; "
                + "needed for addresses that other machines reach")
    }

    /// - Throws: ``ConfigurationError`` for an address that others reach, without a key.
    func check() throws(ConfigurationError) {
        if case .tcp(let address, _) = endpoint, !EventPublisher.isLoopback(address), keys == nil {
            throw ConfigurationError(
                "events.endpoint", "other machines reach \(address), so events.keys must name a key file; 127.0.0.1 needs none")
        }
    }
}
