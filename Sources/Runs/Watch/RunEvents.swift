package import Collectives
package import Configuration
internal import Glibc
package import Support
internal import TransitionBus

/// The event stream that rank 0 publishes (`sq-train watch`); a no-op on other ranks.
///
/// | key | value |
/// |---|---|
/// | `run` | job, model, ranks, steps, the configuration's SHA-256, run folder |
/// | `phase` | what is under way, with the number of parts done and to do |
/// | `step` | a line of `metrics.jsonl` |
/// | `layer/NAME` | components of a ternary layer (as `rank`, too), in training the branch of its last transition |
/// | `bus` | bytes of the last step's transitions, bytes of all, transitions sent again |
/// | `end` | exit code and, if there was one, the error |
///
/// Monitors get the events that they read in time and miss the others. A run neither waits for monitors nor fails because of
/// them.
package final class RunEvents {
    private let job: String
    private let ranks: Int
    private var publisher: EventPublisher?
    private let note: (String) -> Void
    /// The latest event of each layer, since layers often do not change.
    private var newest: [String: JSONValue] = [:]
    /// Path of the file that names the endpoint while the run is under way.
    private var endpointFile: String?

    /// Without monitors.
    package init() { (job, ranks, note) = ("", 1, { _ in }) }

    /// Opens the endpoint that the settings name.
    ///
    /// - Parameter note: tells the user where to watch.
    /// - Throws: errors of an endpoint that cannot be opened, or of a key file that cannot be used.
    package init(_ settings: EventSettings, job: String, ranks: Int, note: @escaping (String) -> Void) throws {
        (self.job, self.ranks, self.note) = (job, ranks, note)
        let file = try settings.keys.map { try KeyFile(contentsOf: $0) }
        func open(_ address: String, _ port: Int?) throws -> EventPublisher {
            try EventPublisher(MessagingContext(), address: address, port: port, keys: file?.keys, monitors: file?.peers ?? [])
        }
        switch settings.endpoint {
        case .none: break
        case .tcp(let address, let port): publisher = try open(address, port)
        case .automatic:
            do { publisher = try open("127.0.0.1", nil) } catch { note("no events for monitors: \(error)".singleLine) }
        }
    }

    /// The job is about to start.
    func begin(_ config: RunConfig, folder: String) {
        guard let publisher else { return }
        note("watch this run: sq-train watch \(publisher.endpoint)")
        let file = RunEndpoint.file(inRun: folder)
        // A run does not fail if its folder cannot name the endpoint.
        if (try? RunEndpoint.write(publisher.endpoint, to: file)) != nil { endpointFile = file }
        publish(
            "run",
            [
                "job": .string(job), "model": .string(config.model.path ?? "embedded"), "world_size": .integer(ranks),
                "steps": .integer(config.training.steps), "folder": .string(folder),
                "config_sha256": .string(hexadecimal(sha256(Array(config.yaml.utf8)))),
            ])
    }

    /// Publishes a value under a key. The value is computed only if monitors may be connected; a failure does not affect the
    /// run.
    package func publish(_ key: String, _ value: @autoclosure () -> JSONValue) {
        attempt { publisher in
            try publisher.publish(key, json: Array(value().text(.compact, sortedKeys: false).utf8))
            try publisher.poll()
        }
    }

    /// Publishes a layer's values if they have changed.
    package func publish(layer: String, components: Int, _ details: KeyValuePairs<String, JSONValue>) {
        guard publisher != nil else { return }
        var object = JSONObject()
        (object["components"], object["rank"]) = (.integer(components), .integer(components))
        for (key, value) in details { object[key] = value }
        let value = JSONValue.object(object)
        guard newest.updateValue(value, forKey: layer) != value else { return }
        publish("layer/\(layer)", value)
    }

    /// Answers new monitors, without waiting. Call it where the run waits for something else.
    package func serve() { attempt { try $0.poll() } }

    /// Publishes that the job has ended, with or without an error. No events follow.
    package func end(_ error: AgreedError? = nil, exitCode: Int32 = 0) {
        var value = JSONObject()
        value["exit_code"] = .integer(Int(error?.exitCode.rawValue ?? exitCode))
        value["error"] = (error?.description).map { .string($0) }
        publish("end", .object(value))
        attempt { try $0.linger() }
        publisher = nil
        if let endpointFile { unlink(endpointFile) }
        endpointFile = nil
    }

    /// An error ends the events, not the run.
    private func attempt(_ work: (EventPublisher) throws -> Void) {
        guard let publisher else { return }
        do {
            try work(publisher)
        } catch {
            self.publisher = nil
            note("no more events for monitors: \(error)".singleLine)
        }
    }
}
