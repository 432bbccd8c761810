internal import Configuration
internal import Parallelism
internal import Support

/// The manifest that completes a checkpoint. It is written last, names every other file with its digest, and says which run
/// they belong to.
package struct CheckpointManifest: Equatable, Sendable {
    static let fileName = "MANIFEST"
    static let version = 2

    /// The identity of the run that a checkpoint belongs to. A run that differs in any of this cannot resume from it.
    struct Identity: Equatable, Sendable {
        var job: String
        var worldSize: Int
        /// SHA-256 over the model's tensors.
        var model: String
        /// SHA-256 over the token windows that training reads; nil in manifests of version 1, which do not have it.
        var data: String?
        /// SHA-256 over the token windows that are scored; nil in manifests that do not have it.
        var evaluation: String?
        /// Settings by key, except those that change no number.
        var settings: [String: String]
    }

    struct File: Equatable, Sendable {
        var bytes: Int
        /// The digest in hexadecimal.
        var sha256: String
    }

    var identity: Identity
    /// Steps taken, which is also the number of the next step.
    package var step: Int
    /// The name shared by all attempts of the run that saved it; empty where the run has no name, and in older manifests.
    var run = ""
    var files: [String: File]
    /// Losses and times of the steps so far.
    package var record: StepRecord
    /// What these steps were taken with and later ones are not, a part of a sentence each, in order.
    package var earlier: [String] = []

    private static let digestKey = "sha256"
    /// Also a limit of the factors of a layout.
    fileprivate static let mostRanks = 1 << 20

    /// The text on disk.
    static func text(_ json: JSONObject) -> String { JSONValue.object(json).text(.indented, sortedKeys: false) + "\n" }

    /// SHA-256 of a manifest without its own digest. Without it a changed step number would not be noticed.
    private static func digest(_ content: JSONObject) -> String {
        sha256(of: Array(JSONValue.object(content).text(.compact, sortedKeys: true).utf8))
    }

    var json: JSONObject {
        var settings = JSONObject(), entries = JSONObject()
        for (key, value) in identity.settings.sorted(by: { $0.key < $1.key }) { settings[key] = .string(value) }
        for (name, file) in files.sorted(by: { $0.key < $1.key }) {
            entries[name] = ["bytes": .integer(file.bytes), "sha256": .string(file.sha256)]
        }
        let content: JSONValue = [
            "version": .integer(Self.version), "job": .string(identity.job), "run": .string(run), "step": .integer(step),
            "world_size": .integer(identity.worldSize),
            "model_sha256": .string(identity.model), "data_sha256": .string(identity.data ?? ""), "settings": .object(settings),
            "files": .object(entries),
            "loss": ["first": .double(record.firstLoss), "last": .double(record.lastLoss)],
            "timed_steps": .integer(record.timedSteps), "timed_seconds": .double(record.timedSeconds),
        ]
        var object = (content.object ?? JSONObject()).stamped
        object["evaluation_sha256"] = identity.evaluation.map { .string($0) }
        if !earlier.isEmpty { object["earlier_steps"] = .array(earlier.map { .string($0) }) }
        object[Self.digestKey] = .string(Self.digest(object))
        return object
    }

    /// - Throws: ``CheckpointError/damaged(_:_:)``, ``CheckpointError/otherVersion(_:_:)``.
    init(contentsOf path: String) throws {
        let json = try InputFile.json(path)
        guard let version = json["version"]?.integer else { throw CheckpointError.damaged(path, "has no version") }
        guard version <= Self.version else { throw CheckpointError.otherVersion(path, version) }
        var content = json.object ?? JSONObject()
        content[Self.digestKey] = nil
        guard json[Self.digestKey]?.string == Self.digest(content) else {
            throw CheckpointError.damaged(path, "does not match the SHA-256 at its end")
        }
        // The digest is over the canonical text, since some values can be written in two ways.
        let text = Self.text(json.object ?? JSONObject())
        guard try InputFile.contents(of: path, limit: text.utf8.count) == Array(text.utf8) else {
            throw CheckpointError.damaged(path, "is not written as this program writes it")
        }
        func damaged(_ key: String) -> CheckpointError { .damaged(path, "\(key) is missing or of another kind") }
        guard let job = json["job"]?.string, let step = json["step"]?.integer, step > 0 else { throw damaged("job or step") }
        guard let worldSize = json["world_size"]?.integer, let model = json["model_sha256"]?.string else {
            throw damaged("world_size")
        }
        guard let settings = json["settings"]?.object, let entries = json["files"]?.object else {
            throw damaged("settings or files")
        }
        guard let first = json["loss"]?["first"]?.number, let last = json["loss"]?["last"]?.number,
            let timedSteps = json["timed_steps"]?.integer, let timedSeconds = json["timed_seconds"]?.number
        else { throw damaged("loss or times") }
        let data = json["data_sha256"]?.string
        guard data != nil || version < 2 else { throw damaged("data_sha256") }
        // The digest shows that the text is whole, not that its values are possible.
        let asked = settings[RunConfig.stepsKey]?.string.flatMap { Int($0) } ?? .max
        guard step <= asked else { throw CheckpointError.damaged(path, "is of step \(step), and its run has \(asked) steps") }
        guard (1...Self.mostRanks).contains(worldSize), (0...step).contains(timedSteps) else {
            throw CheckpointError.damaged(path, "is of \(worldSize) ranks and \(timedSteps) timed steps")
        }
        identity = Identity(
            job: job, worldSize: worldSize, model: model, data: data, evaluation: json["evaluation_sha256"]?.string,
            settings: [:])
        for (key, value) in settings.members { identity.settings[key] = value.string }
        files = [:]
        for (name, entry) in entries.members {
            guard !name.contains("/"), let bytes = entry["bytes"]?.integer, let digest = entry["sha256"]?.string else {
                throw damaged("files")
            }
            files[name] = File(bytes: bytes, sha256: digest)
        }
        self.step = step
        run = json["run"]?.string ?? ""
        earlier = json["earlier_steps"]?.array?.compactMap(\.string) ?? []
        record = StepRecord(firstLoss: first, lastLoss: last, timedSteps: timedSteps, timedSeconds: timedSeconds)
    }

    init(
        identity: Identity, step: Int, run: String = "", files: [String: File], record: StepRecord, earlier: [String] = []
    ) {
        (self.identity, self.step, self.run, self.files) = (identity, step, run, files)
        (self.record, self.earlier) = (record, earlier)
    }
}

extension CheckpointManifest.Identity {
    /// The difference from `other`, in words; nil where there is none.
    ///
    /// - Parameters:
    ///   - step: steps taken. If the run had finished all its steps, more may be asked for now.
    ///   - acceptsOtherData: whether the text to learn from may differ.
    ///   - acceptsRelayout: whether the number of ranks and their layout may differ.
    func difference(
        from other: Self, after step: Int, acceptsOtherData: Bool = false, acceptsRelayout: Bool = false
    ) -> String? {
        if job != other.job { return "it was made by \(job), and this is \(other.job)" }
        if worldSize != other.worldSize, !acceptsRelayout {
            return "it was made with \(counted(worldSize, "rank")), and there are \(other.worldSize)\(Self.relayoutAdvice)"
        }
        if model != other.model { return "the model has other weights now" }
        if let data, data != other.data, !acceptsOtherData {
            return "the training data has other content now (--allow-other-data resumes with it)"
        }
        let former = RunConfig.formerValues(of: settings).filter { other.settings[$0.key] != nil }
        let settings = settings.merging(former) { own, _ in own }
        let difference = RunConfig.difference(settings, other.settings) { key in
            if key == RunConfig.stepsKey, settings[key] == String(step), let asked = other.settings[key].flatMap({ Int($0) }) {
                return asked > step
            }
            // Both tell what is written after the last step.
            if key == RunConfig.formatsKey || key == RunConfig.writtenTypeKey { return true }
            return acceptsOtherData && RunConfig.isTextKey(key) || acceptsRelayout && Self.isLayoutKey(key)
        }
        if let difference { return difference.description + (Self.isLayoutKey(difference.key) ? Self.relayoutAdvice : "") }
        guard let evaluation, evaluation != other.evaluation else { return nil }
        return "the text to evaluate on has other content now, and it was scored before; give that text back"
    }

    /// What the steps up to `step` were taken with and those of `later` are not, a part of a sentence each.
    func changes(to later: Self, after step: Int) -> [String] {
        let steps = RunConfig.stepsKey
        var result: [String] = []
        if let before = settings[steps], let now = later.settings[steps], before != now,
            settings["training.schedule"] != Schedule.constant.rawValue
        {
            result.append("until step \(step) the schedule was that of \(steps)=\(before)")
        }
        if let data, data != later.data {
            let isText = settings["data.train.path"].map { $0 != "sampled" } ?? true
            let text = isText ? "windows with SHA-256 \(data) (\(settings["data.train.path"] ?? ""))" : "what the model drew"
            result.append("until step \(step) it learned from \(text)")
        }
        if worldSize != later.worldSize || layout != later.layout {
            result.append("until step \(step) it ran on \(arrangement)")
        }
        return result
    }

    private static func isLayoutKey(_ key: String) -> Bool { key == layoutKey || RunConfig.isLayoutKey(key) }

    private static let relayoutAdvice = " (--allow-relayout resumes with another layout)"
}

/// Replicas and stages, which `parallel.*` may leave open, are also among the settings.
extension CheckpointManifest.Identity {
    private static let layoutKey = "layout"
    private static let times = " × "

    static func setting(of dims: ParallelDims) -> [String: String] { [layoutKey: "\(dims.data)\(times)\(dims.pipeline)"] }

    /// The number of ranks and their layout, in words.
    var arrangement: String { "\(settings[Self.layoutKey] ?? String(worldSize)) (replicas × stages)" }

    /// nil where the manifest does not state it.
    var layout: ParallelDims? {
        let factors = settings[Self.layoutKey]?.split(separator: Self.times).compactMap { Int($0) } ?? []
        guard factors.count == 2, factors.allSatisfy({ (1...CheckpointManifest.mostRanks).contains($0) }) else { return nil }
        return ParallelDims(data: factors[0], pipeline: factors[1])
    }
}
