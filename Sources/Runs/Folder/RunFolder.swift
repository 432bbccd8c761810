package import Configuration
internal import Glibc
package import Support

/// An error: a run's folder or a file in it cannot be written.
package struct RunFolderError: ReportableError, Equatable {
    package let path: String
    package let problem: String

    package var exitCode: ExitCode { .io }
    package var description: String { "\(path): \(problem)".singleLine }

    init(_ path: String, _ problem: String, _ code: Int32) {
        self.path = path
        self.problem = "\(problem): \(String(cString: strerror(code)))"
    }
}

/// Where a run leaves its results: `config.yaml`, `metrics.jsonl`, `summary.json` and what the job adds.
///
/// Every rank has one, but only rank 0's writes, and only while no other run does: see `FolderLock`. Files are written whole or
/// not at all, and an incomplete line of metrics is removed when the disk is full.
package final class RunFolder {
    package let path: String
    /// The name shared by all attempts of the run; see ``lastRun(_:)``.
    package let run: String
    private let supervisor: String?
    private let isWriter: Bool
    private let events: RunEvents
    private var metrics: Int32 = -1
    private var hasAppended = false
    private var lock: FolderLock?
    /// Whether the results of a finished run may be removed. If not, a run that finishes here while this one waits for the
    /// folder keeps it.
    package var mayReplaceFinished = true

    /// Nothing is changed before `create(_:job:after:source:)`.
    ///
    /// - Parameters:
    ///   - supervisor: the name of the process that starts the attempts; see ``SupervisorLock``.
    ///   - events: receives what is written here.
    package init(
        _ path: String, run: String = "", supervisor: String? = nil, isWriter: Bool, events: RunEvents = RunEvents()
    ) {
        self.path = path
        self.supervisor = supervisor
        self.run = run
        self.isWriter = isWriter
        self.events = events
    }

    deinit { if metrics >= 0 { close(metrics) } }

    /// The path of a file in the folder.
    package func file(_ name: String) -> String { "\(path)/\(name)" }

    static let summaryName = RunFiles.summary
    static let configurationName = RunFiles.configuration
    static let metricsName = "metrics.jsonl"

    /// The step a run in this folder has saved last, as `CheckpointFolder` names it.
    package static func newestCheckpoint(_ path: String) -> String? {
        let latest = "\(path)/\(CheckpointFolder.name)/\(CheckpointFolder.latestName)"
        return try? String(decoding: InputFile.contents(of: latest, limit: 100), as: UTF8.self)
    }

    /// A line for the user on what is kept of a run that is stopped now.
    ///
    /// - Parameter overwrites: whether the run's command removes what it finds, and would do so again.
    package static func stopAdvice(_ path: String, overwrites: Bool = false) -> String {
        let flags = "--out \(path)" + (overwrites ? ", without --overwrite," : "")
        if PathKind("\(path)/\(summaryName)") != .absent {
            return "stopped on request; the results in \(path) are as they were"
        }
        let folder = CheckpointFolder(path: "\(path)/\(CheckpointFolder.name)")
        if let step = try? folder.steps().first {
            return
                "stopped on request after step \(step); \(folder.checkpoint(step)) has its state, and the same command with "
                + "\(flags) resumes there"
        }
        let layers = "\(path)/\(RunFiles.finishedLayers)"
        if let count = try? entries(ofFolder: layers).count, count > 0 {
            return
                "stopped on request; \(layers) has the layers finished so far, and the same command with \(flags) resumes there"
        }
        return "stopped on request before anything was saved; the same command with \(flags) starts over"
    }

    /// The name of the run that has begun in this folder last.
    package static func lastRun(_ path: String) -> String? {
        try? String(decoding: InputFile.contents(of: "\(path)/\(FolderLock.fileName)", limit: 1000), as: UTF8.self)
    }

    /// Whether a run writes into the folder now.
    package static func isInUse(_ path: String) -> Bool { FolderLock.isHeld(path) }

    /// Keeps other runs out of the folder, if it exists. Its contents stay unchanged until `create(_:job:after:source:)`.
    ///
    /// - Throws: ``FolderInUse``.
    package func claim() throws {
        guard isWriter, lock == nil, PathKind(path) != .absent else { return }
        let claimed = try FolderLock(path, supervisor: supervisor)
        if !mayReplaceFinished, PathKind(file(Self.summaryName)) != .absent { throw FolderInUse(path: path) }
        lock = claimed
        // The run that could be watched there no longer exists, nor does any process that has left a file half written.
        let endpoint = RunEndpoint.fileName
        let written = [endpoint] + FolderContents.resultNames + FolderContents.recordNames
        for name in try entries(ofFolder: path)
        where name == endpoint || written.contains(where: { name.hasPrefix($0 + ".tmp-") }) { try removeTree(file(name)) }
    }

    /// Makes the folder and writes `run.json` and `config.yaml`. Files of an earlier run in the same folder are removed: its
    /// results always, so that none is beside a configuration that it was not made with; its checkpoints and metrics if this
    /// run begins at step 0. If the process is killed in between, the folder records that: see ``RunRecord/isReplacing``.
    ///
    /// - Parameters:
    ///   - job: as in `Job.name`.
    ///   - steps: number of steps already taken, whose metrics are kept.
    ///   - source: the run folder in which they were taken; nil: this one.
    /// - Throws: ``FolderOccupied/input(_:setting:)`` where an input of this run would be removed; ``FolderInUse``; errors of
    ///   writing.
    package func create(_ config: RunConfig, job: String, after steps: Int = 0, source: String? = nil) throws {
        guard isWriter else { return }
        try Self.makeDirectories(path)
        try claim()
        let continues = steps > 0 && isSamePlace(source ?? path, path)
        let names = try outdatedNames(job: job, continues: continues)
        try config.checkInputs(outside: names + FolderContents.recordNames, of: path)
        try FolderContents.checkRemovable(names, from: path)
        let metricsFile = file(Self.metricsName)
        let kept = try keptMetrics(source.map { "\($0)/\(Self.metricsName)" } ?? metricsFile, steps)
        try RunRecord(job: job, isReplacing: !continues).write(folder: path)
        try FolderContents.remove(names, from: path)
        // From here on nothing in the folder belongs to an earlier run.
        try lock?.sign(run, path)
        // The folder itself is not among the settings, since another run that uses the file would write into this one.
        try AtomicFile.write("# \(ProgramVersion.name)\n" + config.withAutomaticFolder().yaml, to: file(Self.configurationName))
        try AtomicFile.write(kept, to: metricsFile)
        if !continues { try RunRecord(job: job).write(folder: path) }
        metrics = open(metricsFile, O_WRONLY | O_APPEND | O_CLOEXEC)
        if metrics < 0 { throw RunFolderError(metricsFile, "cannot be created", errno) }
        events.begin(config, folder: path)
    }

    /// Names of files that a run of `job` that begins or continues here must not leave beside its own.
    private func outdatedNames(job: String, continues: Bool) throws(FileError) -> [String] {
        let isOwn = try RunRecord(folder: path)?.job == job
        return FolderContents.resultNames + (continues ? [] : FolderContents.stateNames)
            + (isOwn ? [] : FolderContents.scratchNames)
    }

    /// Empties the folder, so that a run of `job` can start over here later. Does nothing where there is no folder.
    ///
    /// - Throws: ``FolderInUse``; errors of removing.
    package func clear(for job: String) throws {
        guard isWriter, PathKind(path, followsLinks: true) == .folder else { return }
        try claim()
        let names = try outdatedNames(job: job, continues: false)
        try FolderContents.checkRemovable(names, from: path)
        try RunRecord(job: job, isReplacing: true).write(folder: path)
        try FolderContents.remove(names, from: path)
    }

    /// The lines of the first `steps` steps; empty where there is no such file.
    private func keptMetrics(_ name: String, _ steps: Int) throws -> ArraySlice<UInt8> {
        guard steps > 0, PathKind(name) == .file else { return [] }
        let file = try InputFile(name)
        let bytes = try file.bytes(0..<file.size)
        let ends = bytes.indices.filter { bytes[$0] == UInt8(ascii: "\n") }.prefix(steps)
        return bytes[..<(ends.last.map { $0 + 1 } ?? 0)]
    }

    /// Appends a step's line to `metrics.jsonl`. The first line that a process appends also names the program, since a separate
    /// line would be taken for a step.
    package func append(_ step: JSONObject) throws(RunFolderError) {
        guard isWriter else { return }
        precondition(metrics >= 0, "metrics before the folder was created")
        let content = hasAppended ? step : step.stamped
        let line = Array((JSONValue.object(content).text(.compact, sortedKeys: false) + "\n").utf8)
        let end = lseek(metrics, 0, SEEK_END)
        let code = writeAll(line, to: metrics)
        guard code == 0 else {
            _ = ftruncate(metrics, end)
            throw RunFolderError(file(Self.metricsName), "cannot be written", code)
        }
        hasAppended = true
        events.publish("step", .object(step))
    }

    /// Makes the lines of the steps taken so far durable, since the checkpoint after them survives a loss of power, too.
    static func synchronizeMetrics(_ path: String) throws(RunFolderError) {
        let file = open("\(path)/\(metricsName)", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return }
        defer { close(file) }
        guard fsync(file) == 0 else { throw RunFolderError("\(path)/\(metricsName)", "cannot be made durable", errno) }
    }

    /// Writes `summary.json`.
    package func write(_ summary: RunSummary) throws {
        guard isWriter else { return }
        var object = summary.json.object ?? JSONObject()
        object["version"] = .string(ProgramVersion.text)
        try AtomicFile.write(
            JSONValue.object(object.stamped).text(.indented, sortedKeys: false) + "\n", to: file(Self.summaryName))
    }

    /// Makes a folder and its parent folders.
    static func makeDirectories(_ path: String) throws(RunFolderError) {
        var current = path.hasPrefix("/") ? "/" : ""
        for name in path.split(separator: "/") {
            current += (current.isEmpty || current == "/" ? "" : "/") + name
            if mkdir(current, 0o755) != 0 {
                let code = errno
                var status = stat()
                let isFolder = stat(current, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
                guard isFolder else { throw RunFolderError(current, "cannot be made a folder", code) }
            }
        }
    }
}
