internal import Configuration
internal import Glibc
internal import Support

/// What a folder holds before a run begins in it.
struct FolderContents {
    let path: String
    /// Files that no run has made; logs, which users send into a run's folder, are not counted.
    let foreign: [String]
    /// nil where no run has begun here.
    let run: Run?

    struct Run {
        /// nil where a version that did not write it down was killed before its first checkpoint.
        var job: String?
        /// `config.yaml`; nil where this program cannot read it.
        var config: RunConfig?
        var isFinished: Bool
        /// The newest checkpoint's; nil without one.
        var checkpointStep: Int?
    }

    /// What a run computes; none of it stands beside another run's configuration.
    static let resultNames = [RunFolder.summaryName] + readNames + [RunFiles.harness, RunFiles.exports]
    /// Of these, what other jobs read.
    static let readNames = ["R.bin", RunFiles.rotations, RunFiles.factors, RunFiles.model, RunFiles.dense]
    /// What a run resumes from; it goes when a run begins at step 0.
    static let stateNames = [CheckpointFolder.name]
    /// What says which run it is and how far it has come.
    static let recordNames = [RunRecord.fileName, RunFolder.configurationName, RunFolder.metricsName]
    /// What a run of the same job may still use.
    static let scratchNames = [RunFiles.finishedLayers]
    private static let logEndings = [".log", ".out", ".err"]

    /// - Throws: what keeps the folder, or what says which run it holds, from being read: taken for absent, it would be lost.
    init(_ path: String) throws(FileError) {
        self.path = path
        let names = try entriesIfPresent(ofFolder: path)
        run = try Self.run(path, Set(names))
        // Without a run beside them, files of a run's names are somebody's own.
        let others = names.filter { name in
            !name.hasPrefix(".") && name != FolderLock.fileName && name != SupervisorLock.fileName
                && !Self.logEndings.contains(where: name.hasSuffix)
        }
        foreign = run == nil ? others : []
    }

    /// That ``remove(_:from:)`` will not stop halfway at a link to checkpoints whose folder is not there.
    static func checkRemovable(_ names: [String], from folder: String) throws(FileError) {
        guard names.contains(CheckpointFolder.name) else { return }
        try CheckpointFolder(path: "\(folder)/\(CheckpointFolder.name)").checkLink()
    }

    /// Removes what is there of these names.
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
        // Earlier versions wrote no record; a lock alone is of a run that ended before it had written anything.
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
