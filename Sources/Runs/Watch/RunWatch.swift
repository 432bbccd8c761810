internal import Glibc
package import Support
package import TransitionBus

/// An error: a run can no longer be watched.
package enum WatchError: ReportableError, Equatable {
    case silent(endpoint: String, seconds: Double)
    case lost(endpoint: String, seconds: Double)
    case refused(endpoint: String, hasKey: Bool)

    package var exitCode: ExitCode {
        switch self {
        case .silent, .lost: .temporary
        case .refused: .authentication
        }
    }

    package var description: String {
        switch self {
        case .silent(let endpoint, let seconds):
            "nothing answered at \(endpoint) for \(seconds.formatted(decimals: 0)) s; check that the run has not ended, and "
                + "that this is the endpoint it named at its start"
        case .lost(let endpoint, let seconds):
            "the run at \(endpoint) has been gone for \(seconds.formatted(decimals: 0)) s without having said that it ends; "
                + "see its own output"
        case .refused(let endpoint, let hasKey):
            hasKey
                ? "\(endpoint) refuses this key; the run's key file needs a line `peer` with its public key, and the monitor's "
                    + "one with the run's"
                : "\(endpoint) needs a key: give --keys"
        }
    }
}

/// Follows a run: on a terminal with a screen that is redrawn, elsewhere with a line of JSON for each event.
package struct RunWatch {
    private let endpoint: String
    private let folder: String?
    private let keys: KeyFile?
    private let timeout: Duration

    /// - Parameters:
    ///   - folder: the run's, which names another endpoint after a restart; nil where only the endpoint is known.
    ///   - keys: the monitor's keys, with the run's public key as their only peer; nil for a run without keys.
    ///   - timeout: how long to wait for a run that does not answer, or no longer does.
    package init(
        _ endpoint: String, inRun folder: String? = nil, keys: KeyFile?, timeout: Duration
    ) throws(BusError) {
        if let keys, keys.peers.count != 1 {
            throw .unsuitable(
                setting: "--keys", rule: "one line `peer` is expected, with the run's public key, not \(keys.peers.count)")
        }
        (self.endpoint, self.folder, self.keys, self.timeout) = (endpoint, folder, keys, timeout)
    }

    /// Returns when the run has ended.
    package func run() throws {
        try follow(isatty(STDOUT_FILENO) == 1 ? TerminalScreen(Console.printOutput) : nil, output: Console.printOutput)
    }

    func follow(_ screen: TerminalScreen?, output: (String) -> Void) throws {
        var endpoint = endpoint
        func subscribe() throws -> EventSubscriber {
            try EventSubscriber(endpoint, keys: keys?.keys, serverKey: keys?.peers.first)
        }
        var subscriber = try subscribe()
        var view = RunView()
        var wasConnected = false
        while true {
            for event in try subscriber.next(milliseconds: 200) {
                // A monitor shows only what it understands.
                guard let value = try? JSONValue(parsing: event.json) else { continue }
                view.take(event.key, value)
                if screen == nil {
                    let line: JSONValue = ["event": .string(event.key), "value": value]
                    output(line.text(.compact, sortedKeys: false) + "\n")
                }
            }
            screen?.draw(view)
            if view.hasEnded { return }
            switch subscriber.connection {
            case .open: wasConnected = true
            case .refused: throw WatchError.refused(endpoint: endpoint, hasKey: keys != nil)
            case .none where restarted(at: &endpoint):
                (subscriber, view) = (try subscribe(), RunView())
            case .none(let since) where .now - since > timeout:
                let seconds = timeout / .seconds(1)
                throw wasConnected
                    ? WatchError.lost(endpoint: endpoint, seconds: seconds) : .silent(endpoint: endpoint, seconds: seconds)
            case .none: break
            }
        }
    }

    /// Whether the run's folder names another endpoint now, which replaces `endpoint`.
    private func restarted(at endpoint: inout String) -> Bool {
        guard let folder, let named = try? RunEndpoint.read(inRun: folder), named != endpoint else { return false }
        endpoint = named
        return true
    }
}
