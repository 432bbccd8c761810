internal import Configuration
internal import Glibc
internal import Support

/// The contents of a folder before a run begins in it.
struct FolderContents {
    let path: String
    /// Files that no run has made. Logs are not counted, since users often write them into a run's folder.
    let foreign: [String]
    /// nil where no run has begun here.
    let run: Run?

    struct Run {
        /// nil where a version that did not record it was killed before its first checkpoint.
        var job: String?
        /// `config.yaml`; nil where this program cannot read it.
        var config: RunConfig?
        var isFinished: Bool
        /// Step of the newest checkpoint; nil without one.
        var checkpointStep: Int?
    }

    /// Results of a run, which must not be beside another run's configuration.
    static let resultNames = [RunFolder.summaryName] + readNames + [RunFiles.harness, RunFiles.exports]
    /// The results that other jobs read.
    static let readNames = [RunFiles.rotationArchive, RunFiles.rotations, RunFiles.factors, RunFiles.model, RunFiles.dense]
    /// Files that a run resumes from. They are removed when a run begins at step 0.
    static let stateNames = [CheckpointFolder.name]
    /// Files that say which run it is and how far it has come.
    static let recordNames = [RunRecord.fileName, RunFolder.configurationName, RunFolder.metricsName]
    /// Files that a run of the same job may still use.
    static let scratchNames = [RunFiles.finishedLayers]
    private static let logEndings = [".log", ".out", ".err"]

    /// - Throws: an error where the folder, or the record of its run, cannot be read. If it were taken for absent, it would be
    ///   lost.
    init(_ path: String) throws(FileError) {
        self.path = path
        let names = try entriesIfPresent(ofFolder: path)
        run = try Self.run(path, Set(names))
        // Without a run beside them, files with such names belong to the user.
        let others = names.filter { name in
            !name.hasPrefix(".") && name != FolderLock.fileName && name != SupervisorLock.fileName
                && !Self.logEndings.contains(where: name.hasSuffix)
        }
        foreign = run == nil ? others : []
    }

    /// Checks that ``remove(_:from:)`` will not stop halfway at a link to checkpoints whose folder does not exist.
    static func checkRemovable(_ names: [String], from folder: String) throws(FileError) {
        guard names.contains(CheckpointFolder.name) else { return }
        try CheckpointFolder(path: "\(folder)/\(CheckpointFolder.name)").checkLink()
    }

    /// Removes the files of these names that exist.
    static func remove(_ names: [String], from folder: String) throws(FileError) {
        for name in names {
            if name == CheckpointFolder.name {
                try CheckpointFolder(path: "\(folder)/\(name)").remove()
            } else {
                try removeTree("\(folder)/\(name)")
            }
        }
    }

    private static func run(_ path: String, _ names: Set<String>) throws(FileError) -> Run? {
        let record = try RunRecord(folder: path)
        // Earlier versions wrote no record. A lock alone comes from a run that ended before it had written anything.
        let hasMark = names.contains(FolderLock.fileName) || names.contains(RunFolder.metricsName)
        let hasFiles = !names.isDisjoint(
            with: resultNames + stateNames + scratchNames + [RunFolder.configurationName, RunFolder.metricsName])
        guard record != nil || (hasMark && hasFiles) else { return nil }
        if let record, record.isReplacing { return Run(job: record.job, isFinished: false) }
        let folder = CheckpointFolder(path: "\(path)/\(CheckpointFolder.name)")
        let steps = try folder.steps()
        func savedJob() -> String? {
            let summary = try? InputFile.json("\(path)/\(RunFolder.summaryName)")
            if let job = summary?["job"]?.string { return job }
            return steps.lazy.compactMap {
                try? CheckpointManifest(contentsOf: "\(folder.checkpoint($0))/\(CheckpointManifest.fileName)")
            }
            .first?.identity.job
        }
        return Run(
            job: record?.job ?? savedJob(), config: try? RunConfig(recordedIn: "\(path)/\(RunFolder.configurationName)"),
            isFinished: names.contains(RunFolder.summaryName),
            checkpointStep: steps.first)
    }
}
