package import Configuration
internal import Glibc
internal import Support

/// An error: a run may not begin in a folder, since the folder's contents would be lost. Nothing has been changed.
enum FolderOccupied: ReportableError, Equatable {
    /// Files that no run has made, with the names of some.
    case foreign(String, [String])
    /// Another job's run.
    case otherJob(String, holds: String, asked: String)
    /// A finished run of the same job, and what differs.
    case otherSettings(String, job: String, difference: String)
    /// An unfinished run of the same job with other settings, and what differs.
    case otherUnfinished(String, job: String, difference: String)
    /// A finished run whose input has been written to since.
    case otherInput(String, job: String, setting: String)
    /// A finished run that was asked for more steps and has no checkpoint to resume from.
    case withoutCheckpoint(String, job: String)
    /// `--resume never` where there is a run.
    case beginsAnew(String, job: String)
    /// A setting of this run names a file in the folder that would be removed.
    case input(String, setting: String)

    var exitCode: ExitCode { .configuration }

    private static let advice = "give another --out, or --overwrite to replace it"

    var description: String {
        switch self {
        case .foreign(let path, let names):
            "\(path): holds files that belong to no run "
                + "(\(names.prefix(3).joined(separator: ", "))\(names.count > 3 ? ", …" : "")); "
                + "give another --out, or --overwrite, which removes files with names that runs use (model, checkpoints, …) "
                + "and leaves the rest"
        case .otherJob(let path, let holds, let asked): "\(path): holds a run of \(holds), and this is \(asked); \(Self.advice)"
        case .otherSettings(let path, let job, let difference):
            "\(path): holds a finished run of \(job) with other settings: \(difference); \(Self.advice)"
        case .otherUnfinished(let path, let job, let difference):
            "\(path): holds an unfinished run of \(job) with other settings: \(difference); \(Self.advice)"
        case .otherInput(let path, let job, let setting):
            "\(path): holds a finished run of \(job), and \(setting) has changed since; \(Self.advice)"
        case .withoutCheckpoint(let path, let job):
            "\(path): holds a finished run of \(job) without a checkpoint, so that more steps cannot resume it "
                + "(checkpoint.every was 0); \(Self.advice)"
        case .beginsAnew(let path, let job):
            "\(path): holds a run of \(job), and --resume never starts over; \(Self.advice)"
        case .input(let path, let setting):
            "\(path): \(setting) is in this folder and would be removed or overwritten; give another --out"
        }
    }
}

/// Whether and how a run begins in a folder.
package enum FolderAdmission: Equatable {
    /// At step 0.
    case begins
    /// Where a run of the same job has stopped; `RunCheckpoints` compares what else identifies it.
    case resumes
    /// The same run has finished: nothing is left to do.
    case finished
    /// The same run with fewer steps has finished, after this many.
    case extends(from: Int)

    /// The text in which rank 0 sends it to the others.
    package var text: String {
        switch self {
        case .begins: "begins"
        case .resumes: "resumes"
        case .finished: "finished"
        case .extends(let steps): String(steps)
        }
    }

    package init(text: String) {
        switch text {
        case "begins": self = .begins
        case "resumes": self = .resumes
        default: self = Int(text).map { .extends(from: $0) } ?? .finished
        }
    }

    /// - Parameters:
    ///   - resume: nil for jobs that keep no checkpoints.
    ///   - overwrites: whether the folder's contents may be lost.
    ///   - acceptsOtherData: whether an unfinished run, or one that is extended, may have learned from another text.
    ///   - acceptsRelayout: whether settings of how the work is divided may differ.
    ///   - comparesUnfinished: whether an unfinished run with other settings is refused here, and not only when its
    ///     checkpoint is read.
    /// - Throws: ``FolderOccupied``.
    package static func check(
        _ path: String, job: String, _ config: RunConfig, resume: ResumePolicy?, overwrites: Bool,
        acceptsOtherData: Bool = false, acceptsRelayout: Bool = false, comparesUnfinished: Bool = false
    ) throws -> FolderAdmission {
        let contents = try FolderContents(path)
        if overwrites { return .begins }
        guard let run = contents.run else {
            guard contents.foreign.isEmpty else { throw FolderOccupied.foreign(path, contents.foreign) }
            return .begins
        }
        guard run.job == job else {
            throw FolderOccupied.otherJob(path, holds: run.job ?? "an unknown job", asked: job)
        }
        if resume == .never { throw FolderOccupied.beginsAnew(path, job: job) }
        // Other exports are made from the existing results.
        func accepted(_ key: String) -> Bool {
            // Where both rotations are fixed no steps are taken.
            key == RunConfig.formatsKey || acceptsRelayout && RunConfig.isLayoutKey(key)
                || key == RunConfig.stepsKey && job == ModelJob.rotate.rawValue && config.rotation.isFixed
        }
        func acceptedBeforeEnd(_ key: String) -> Bool { accepted(key) || acceptsOtherData && RunConfig.isTextKey(key) }
        guard run.isFinished else {
            if comparesUnfinished, let begun = run.config,
                let difference = config.difference(
                    from: begun, of: job, ignoring: { $0 == RunConfig.writtenTypeKey || acceptedBeforeEnd($0) })
            {
                throw FolderOccupied.otherUnfinished(path, job: job, difference: difference)
            }
            return run.checkpointStep == nil ? .begins : .resumes
        }
        guard let finished = run.config else {
            throw FolderOccupied.otherSettings(
                path, job: job, difference: "its \(RunFolder.configurationName) cannot be read by this version")
        }
        guard let difference = config.difference(from: finished, of: job, ignoring: accepted) else {
            let summary = "\(path)/\(RunFolder.summaryName)"
            if let setting = try config.inputChanged(since: summary, of: job) ?? config.textChanged(since: summary) {
                throw FolderOccupied.otherInput(path, job: job, setting: setting)
            }
            return .finished
        }
        if resume != nil, config.training.steps > finished.training.steps,
            config.difference(
                from: finished, of: job, ignoring: { $0 == RunConfig.stepsKey || acceptedBeforeEnd($0) }) == nil
        {
            guard run.checkpointStep == finished.training.steps else { throw FolderOccupied.withoutCheckpoint(path, job: job) }
            return .extends(from: finished.training.steps)
        }
        throw FolderOccupied.otherSettings(path, job: job, difference: difference)
    }
}

extension RunConfig {
    /// Checks that no setting names a file or folder among `names` in `folder`, or within one of them.
    ///
    /// - Throws: ``FolderOccupied/input(_:setting:)``.
    func checkInputs(outside names: [String], of folder: String) throws(FolderOccupied) {
        try checkInputs(outside: Self.resolved(names, of: folder), of: folder)
    }

    /// The existing ones of `names` in `folder`, as canonical paths.
    static func resolved(_ names: [String], of folder: String) -> Set<String> {
        Set(names.compactMap { resolved("\(folder)/\($0)") })
    }

    /// - Parameter removed: a result of ``resolved(_:of:)``.
    /// - Throws: ``FolderOccupied/input(_:setting:)``.
    func checkInputs(outside removed: Set<String>, of folder: String) throws(FolderOccupied) {
        for key in descriptions where key.isPath && key.path != "out" {
            guard var path = Self.resolved(key.value) else { continue }
            // In a run's or a model's folder, a job reads files by fixed names.
            let read = [path, "\(path)/\(RunFiles.model)"].flatMap { folder in
                FolderContents.readNames.map { "\(folder)/\($0)" }
            }
            guard removed.isDisjoint(with: read) else { throw .input(folder, setting: "\(key.path) (\(key.value))") }
            while path != "/" {
                if removed.contains(path) { throw .input(folder, setting: "\(key.path) (\(key.value))") }
                path = parentDirectory(of: path)
            }
        }
    }

    /// The first setting that a job's numbers depend on and whose file, or a file in whose folder, was modified after the file
    /// at `path`; nil where there is none.
    func inputChanged(since path: String, of job: String) -> String? {
        guard let time = Self.modificationTime(path) else { return nil }
        let identifying = identifyingSettings(of: job)
        let key = descriptions.first { key in
            guard key.isPath, identifying[key.path] != nil else { return false }
            let files = (try? entries(ofFolder: key.value))?.map { "\(key.value)/\($0)" } ?? []
            return (files + [key.value]).contains { !Self.isFolder($0) && Self.modificationTime($0).map { $0 > time } ?? false }
        }
        return key.map { "\($0.path) (\($0.value))" }
    }

    /// The first text whose content is not what a finished run has recorded, whenever it was modified; nil where there is none.
    ///
    /// - Parameter summary: the run's `summary.json`.
    func textChanged(since summary: String) throws -> String? {
        let recorded = (try? InputFile.json(summary))?["data"]
        for (part, path) in [("train", data.train.path), ("eval", data.eval.path)] {
            guard let path, let digest = recorded?[part]?["sha256"]?.string, PathKind(path, followsLinks: true) == .file else {
                continue
            }
            if try InputFile(path).sha256() != digest { return "data.\(part).path (\(path))" }
        }
        return nil
    }

    /// Nanoseconds; links are followed.
    private static func modificationTime(_ path: String) -> Int? {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        return status.st_mtim.tv_sec * 1_000_000_000 + status.st_mtim.tv_nsec
    }

    private static func isFolder(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }
}
