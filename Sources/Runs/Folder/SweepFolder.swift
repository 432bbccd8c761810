package import Configuration
internal import Support

/// The folder of a sweep: a folder for each run, and a table of all.
///
/// `run.json` marks it as a sweep's before anything else is in it. Each run is described in its own folder.
package struct SweepFolder {
    /// The name on the command line and in `run.json`.
    package static let job = "sweep"
    package static let (csvName, jsonName, chartName) = ("sweep.csv", "sweep.json", "sweep.svg")
    /// Exists while the sweep is under way.
    package static let ledgerName = ".ledger"
    private static let tableNames = [csvName, jsonName, chartName]

    package let path: String

    package init(_ path: String) { self.path = path }

    /// Only checks, and changes nothing.
    ///
    /// - Parameter overwrites: whether the folder's contents may be lost.
    /// - Throws: `FolderOccupied` where the folder holds another job's run, or files that no sweep has made.
    package func check(overwrites: Bool) throws {
        guard !overwrites else { return }
        let contents = try FolderContents(path)
        if let run = contents.run {
            guard run.job == Self.job else {
                throw FolderOccupied.otherJob(path, holds: run.job ?? "an unknown job", asked: Self.job)
            }
            return
        }
        // Names with a dot are skipped, but this one would be emptied.
        let ledger = PathKind("\(path)/\(Self.ledgerName)") == .absent ? [] : [Self.ledgerName]
        let foreign = contents.foreign + ledger
        guard try foreign.isEmpty || isOfEarlierVersion else { throw FolderOccupied.foreign(path, foreign) }
    }

    /// Earlier versions wrote no record.
    private var isOfEarlierVersion: Bool {
        get throws(FileError) {
            let names = Set(try entriesIfPresent(ofFolder: path))
            return names.contains(FolderLock.fileName)
                && (names.contains(Self.ledgerName) || names.isSuperset(of: Self.tableNames))
        }
    }

    /// Whether an attempt of this run has already begun here.
    package func isBegun(by run: String) -> Bool { RunFolder.lastRun(path) == run }

    /// Makes the folder, keeps other sweeps and runs out of it, and marks it. A second sweep in the folder would empty the
    /// first one's ledger.
    ///
    /// - Parameters:
    ///   - run: the name shared by all attempts of the sweep.
    ///   - cleared: for a sweep that starts over, the names of its runs' folders, and of others that hold these runs, with
    ///     their jobs. The contents of these are removed before the first run begins, so that the sweep can be stopped and
    ///     continued, and so are the table and the files of another job's run. nil where nothing may be removed.
    /// - Returns: the lock that keeps others out for as long as it exists.
    /// - Throws: ``FolderInUse``; errors of writing.
    package func begin(run: String, supervisor: String?, clearing cleared: [(name: String, job: String)]?) throws -> FolderLock
    {
        try RunFolder.makeDirectories(path)
        let lock = try FolderLock(path, supervisor: supervisor)
        // A sweep that was killed at its beginning may have left files of another job.
        let isCut = try RunRecord(folder: path)?.isReplacing == true
        let holdsOther = try cleared != nil && holdsOtherJob
        // Nothing goes where something of it cannot.
        if isCut || holdsOther { try FolderContents.checkRemovable(Self.replacedNames, from: path) }
        for run in cleared ?? [] { try FolderContents.checkRemovable(FolderContents.stateNames, from: "\(path)/\(run.name)") }
        if isCut || holdsOther {
            try RunRecord(job: Self.job, isReplacing: true).write(folder: path)
            try FolderContents.remove(Self.replacedNames, from: path)
        }
        if let cleared {
            for name in Self.tableNames { try removeTree("\(path)/\(name)") }
            for run in cleared {
                try RunFolder("\(path)/\(run.name)", supervisor: supervisor, isWriter: true).clear(for: run.job)
            }
        }
        let own = RunRecord(job: Self.job)
        if try RunRecord(folder: path) != own { try own.write(folder: path) }
        try lock.sign(run, path)
        return lock
    }

    private var holdsOtherJob: Bool {
        get throws(FileError) { try FolderContents(path).run.map { $0.job != Self.job } ?? false }
    }

    /// All names of another job's files.
    private static let replacedNames =
        FolderContents.resultNames + FolderContents.stateNames + FolderContents.scratchNames
        + [RunFolder.configurationName, RunFolder.metricsName]

    /// What is removed when the sweep starts over, for `checkInputs(of:outside:)`.
    ///
    /// - Parameter runs: names of the runs' folders.
    package func removed(runs: [String]) throws -> Set<String> {
        let replaced = try holdsOtherJob ? Self.replacedNames : []
        return RunConfig.resolved(Self.tableNames + replaced + runs, of: path)
    }

    /// Checks that no input of a run would be removed.
    ///
    /// - Throws: `FolderOccupied`.
    package func checkInputs(of config: RunConfig, outside removed: Set<String>) throws {
        try config.checkInputs(outside: removed, of: path)
    }

    /// For each run the names of the folders here that hold it: one of its job, with its settings. They may have another name
    /// than the run where the grid had other entries, or an earlier version named it.
    package func folders(of runs: [(job: String, config: RunConfig)]) throws -> [[String]] {
        var names: [String: [String]] = [:]
        for name in try entriesIfPresent(ofFolder: path) {
            // A link, or a folder of a name that no sweep gives, is the user's own.
            if PathKind("\(path)/\(name)") == .link { continue }
            // What cannot be read stops the sweep if a run is to be there.
            let run = try? FolderContents("\(path)/\(name)").run
            guard let job = run?.job, let config = run?.config, name == job || name.hasPrefix(job + ",") else { continue }
            names[config.identity(of: job), default: []].append(name)
        }
        return runs.map { names[$0.config.identity(of: $0.job)] ?? [] }
    }

    /// A line for the user on what is kept of a sweep that is stopped now.
    package func stopAdvice(overwrites: Bool) -> String {
        "stopped on request; the same command with --out \(path)" + (overwrites ? ", without --overwrite," : "")
            + " continues with the runs that have not finished"
    }
}
