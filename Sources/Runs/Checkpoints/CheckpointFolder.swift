internal import Support

/// The folder `checkpoints` of a run: a folder `step-N` for each checkpoint, and `LATEST`, which names the newest.
///
/// A checkpoint is written as `step-N.tmp` and renamed when it is complete and durable, so that a folder `step-N` is whole
/// whenever the process or the machine stops. `LATEST` is only for people and scripts: a resuming run takes the newest
/// checkpoint that can be read.
struct CheckpointFolder: Sendable {
    let path: String

    static let name = "checkpoints"
    static let latestName = "LATEST"
    private static let prefix = "step-"
    private static let temporarySuffix = ".tmp"

    func checkpoint(_ step: Int) -> String { "\(path)/\(Self.prefix)\(step)" }
    func temporary(_ step: Int) -> String { checkpoint(step) + Self.temporarySuffix }

    static func stateFile(rank: Int) -> String { "rank-\(rank).safetensors" }

    /// The step of a checkpoint's folder; nil for other names.
    static func step(ofName name: some StringProtocol) -> Int? {
        let step = name.hasPrefix(prefix) ? Int(name.dropFirst(prefix.count)) : nil
        return step.flatMap { name == "\(prefix)\($0)" ? $0 : nil }
    }

    /// Whether an interrupted write leaves files of this name: `step-N.tmp`, or `LATEST.tmp-…` of `AtomicFile`. Where a link
    /// leads, other names are a user's.
    private static func isTemporary(_ name: String) -> Bool {
        if name.hasPrefix(latestName + temporarySuffix + "-") { return true }
        return name.hasSuffix(temporarySuffix) && step(ofName: name.dropLast(temporarySuffix.count)) != nil
    }

    /// Steps with a checkpoint, newest first. Empty where there is no folder. A folder that cannot be listed is an error, since
    /// a run that took it for empty would start over and remove its contents.
    func steps() throws(FileError) -> [Int] {
        try entriesIfPresent(ofFolder: path).compactMap { Self.step(ofName: $0) }.sorted(by: >)
    }

    /// Makes an empty `step-N.tmp` and removes what interrupted writes have left. No other rank may be writing.
    func begin(_ step: Int) throws(FileError) {
        try makeFolder(path)
        for name in try entries(ofFolder: path) where Self.isTemporary(name) { try removeTree("\(path)/\(name)") }
        try makeFolder(temporary(step))
    }

    /// Makes `step-N.tmp` if no other rank has made it.
    func join(_ step: Int) throws(FileError) { try makeFolder(temporary(step)) }

    /// Removes a `step-N.tmp` that could not be completed.
    func discard(_ step: Int) throws(FileError) { try removeTree(temporary(step)) }

    /// Checks that the folder can be listed where it is a link: ``remove()`` fails at one that leads nowhere.
    func checkLink() throws(FileError) {
        if PathKind(path) == .link { _ = try entries(ofFolder: path) }
    }

    /// Removes the folder. A link, for example to another disk, stays, so that new checkpoints go to the same place; only the
    /// checkpoints there are removed.
    func remove() throws(FileError) {
        guard PathKind(path) == .link else { return try removeTree(path) }
        for name in try entries(ofFolder: path)
        where name == Self.latestName || Self.isTemporary(name) || Self.step(ofName: name) != nil {
            try removeTree("\(path)/\(name)")
        }
    }

    /// Completes `step-N.tmp` with its manifest and gives it its name, then removes all but the newest `keep`. Checkpoints of
    /// later steps are damaged, or of an abandoned attempt. They are removed first, since they would otherwise be the ones that
    /// are kept.
    func commit(_ manifest: CheckpointManifest, keep: Int) throws(FileError) {
        let step = manifest.step
        // Atomic writes also make their folder durable, and so the states in it.
        try AtomicFile.write(
            CheckpointManifest.text(manifest.json),
            to: "\(temporary(step))/\(CheckpointManifest.fileName)")
        // A rename cannot replace a folder. A checkpoint of this step from an earlier attempt is as good as this one until it
        // is removed.
        try removeTree(checkpoint(step))
        try renameDurably(temporary(step), to: checkpoint(step))
        try AtomicFile.write("\(Self.prefix)\(step)\n", to: "\(path)/\(Self.latestName)")
        let steps = try steps()
        let kept = steps.filter { $0 <= step }.prefix(keep)
        for other in steps where !kept.contains(other) { try removeTree(checkpoint(other)) }
    }

    /// Reads a manifest and checks one rank's share of the files that it names, so that all ranks together check all of them.
    /// Where there are as many ranks as when they were written, each checks its own file.
    ///
    /// - Throws: an error that says what is wrong with the checkpoint.
    static func verified(_ checkpoint: String, rank: Int = 0, of ranks: Int = 1) throws -> CheckpointManifest {
        let manifest = try CheckpointManifest(contentsOf: "\(checkpoint)/\(CheckpointManifest.fileName)")
        // Its owner may have renamed it.
        if let named = step(ofName: checkpoint.split(separator: "/").last ?? ""), named != manifest.step {
            throw CheckpointError.damaged(checkpoint, "is of step \(manifest.step) by its \(CheckpointManifest.fileName)")
        }
        // Numbers have no leading zeros, so shorter names come first.
        let files = manifest.files.sorted { ($0.key.count, $0.key) < ($1.key.count, $1.key) }
        for number in stride(from: rank, to: files.count, by: ranks) {
            let (name, expected) = files[number]
            let file = try InputFile("\(checkpoint)/\(name)")
            guard file.size == expected.bytes, try file.sha256() == expected.sha256 else {
                throw CheckpointError.damaged(file.path, "does not match its SHA-256 in \(CheckpointManifest.fileName)")
            }
        }
        return manifest
    }
}
