package import Configuration
internal import Glibc

/// What makes a run the same as another.
extension RunConfig {
    static let stepsKey = "training.steps"
    static let formatsKey = "export.formats"
    /// The type of the floats in `model/`, on which no step depends.
    static let writtenTypeKey = "model.dtype"

    /// Sections that change no number: where to write, when, how much to report, or settings of other jobs.
    private static let withoutEffect = [
        "out", "checkpoint.", "bus.", "events.", "watchdog.", "plan.", "verify.", "generate.", "parallel.threads",
    ]

    /// Whether a setting only says how the work is divided among the ranks, which changes no more than the order of sums.
    static func isLayoutKey(_ key: String) -> Bool { key.hasPrefix("parallel.") || key == "optimizer.shard" }

    /// Whether a setting names the text to learn from. The text to evaluate on stays the same: checkpoints hold scores on it.
    static func isTextKey(_ key: String) -> Bool { key == "data.train.path" }

    /// The settings that a job's numbers depend on. The number of steps is one of them, since the learning rate depends on it.
    func identifyingSettings(of job: String) -> [String: String] {
        let withoutEffect = Self.withoutEffect.filter { $0 != "\(job)." }
        var result: [String: String] = [:]
        for key in descriptions where !withoutEffect.contains(where: key.path.hasPrefix) { result[key.path] = key.value }
        return result
    }

    /// Keys of paths, with the words that stand for none.
    private static let wordsForNoPath = Dictionary(
        uniqueKeysWithValues: ((try? RunConfig())?.descriptions ?? []).compactMap { key in
            key.wordForNoPath.map { (key.path, $0) }
        })

    /// A setting's value, of a path the place, so that `a` and `./a` are the same.
    private static func meaning(of key: String, _ value: String) -> String {
        guard let word = wordsForNoPath[key], word != value else { return value }
        return resolved(value) ?? value
    }

    private static func meaning(of settings: some Sequence<(key: String, value: String)>) -> String {
        settings.map { "\($0.key)=\(meaning(of: $0.key, $0.value))" }.joined(separator: "\0")
    }

    /// The settings as a text that is equal where they mean the same.
    package var meaning: String { Self.meaning(of: descriptions.map { ($0.path, $0.value) }) }

    /// A run of `job` with these settings, as a text. Other exports are made from the same results.
    func identity(of job: String) -> String {
        let settings = identifyingSettings(of: job).filter { $0.key != Self.formatsKey }
        return "\(job)\0" + Self.meaning(of: settings.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })
    }

    /// A setting that has another meaning than before.
    struct Difference {
        let key: String
        /// What it was, and what it is.
        let description: String
    }

    /// The first of the settings that has another meaning, in the order of the keys; nil where none has.
    static func difference(
        _ old: [String: String], _ new: [String: String], ignoring: (String) -> Bool
    ) -> Difference? {
        for key in Set(old.keys).union(new.keys).sorted() where old[key] != new[key] && !ignoring(key) {
            if let old = old[key], let new = new[key], meaning(of: key, old) == meaning(of: key, new) { continue }
            return Difference(key: key, description: "\(key) was \(old[key] ?? "not there") and is \(new[key] ?? "not there")")
        }
        return nil
    }

    /// The first setting that a job's numbers depend on and that has another meaning in `old`, in words; nil where none has.
    func difference(from old: RunConfig, of job: String, ignoring: (String) -> Bool) -> String? {
        Self.difference(old.identifyingSettings(of: job), identifyingSettings(of: job), ignoring: ignoring)?.description
    }

    /// The canonical path; nil where there is nothing.
    package static func resolved(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }
}
