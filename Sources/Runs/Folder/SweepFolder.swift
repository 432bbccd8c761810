package import Configuration
internal import Support

/// The folder of a sweep: a folder of each run, and a table of all.
///
/// `run.json` says that it is a sweep's, before anything else is in it. What each run is stands in the run's own folder.
package struct SweepFolder {
    /// As the command line and `run.json` name it.
    package static let job = "sweep"
    package static let (csvName, jsonName, chartName) = ("sweep.csv", "sweep.json", "sweep.svg")
    /// While the sweep goes on.
    package static let ledgerName = ".ledger"
    private static let tableNames = [csvName, jsonName, chartName]

    package let path: String

    package init(_ path: String) { self.path = path }

    /// Looks only.
    ///
    /// - Parameter overwrites: what the folder holds may be lost.
    /// - Throws: `FolderOccupied` where the folder holds another job's run, or files that are no sweep's.
    package func check(overwrites: Bool) throws {
        guard !overwrites else { return }
        let contents = try FolderContents(path)
        if let run = contents.run {
            guard run.job == Self.job else {
                throw FolderOccupied.otherJob(path, holds: run.job ?? "an unknown job", asked: Self.job)
            }
            return
        }
        // A name with a dot is passed over, but this one would be emptied.
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

    /// Whether an earlier attempt of the run has begun here.
    package func isBegun(by run: String) -> Bool { RunFolder.lastRun(path) == run }

    /// Makes the folder, keeps other sweeps and runs out of it, and marks it. Of two sweeps in one folder the second would
    /// empty the first one's ledger.
    ///
    /// - Parameters:
    ///   - run: what all attempts of the sweep are called.
    ///   - cleared: the runs of a sweep that starts over, by the names of their folders, with their jobs. What is in these goes
    ///     before the first one begins, so that the sweep may be stopped and go on; so do the table and what another job's run
    ///     has left. nil where nothing may go.
    /// - Returns: what keeps the others out, for as long as it lives.
    /// - Throws: ``FolderInUse``; what cannot be written.
    package func begin(run: String, supervisor: String?, clearing cleared: [(name: String, job: String)]?) throws -> FolderLock
    {
        try RunFolder.makeDirectories(path)
        let lock = try FolderLock(path, supervisor: supervisor)
        // A sweep that was killed as it began may have left some of another job's.
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

    /// Another job's, all of it.
    private static let replacedNames =
        FolderContents.resultNames + FolderContents.stateNames + FolderContents.scratchNames
        + [RunFolder.configurationName, RunFolder.metricsName]

    /// What is lost when the sweep starts over, for `checkInputs(of:outside:)`.
    ///
    /// - Parameter runs: folders of runs, by name.
    package func removed(runs: [String]) throws -> Set<String> {
        let replaced = try holdsOtherJob ? Self.replacedNames : []
        return RunConfig.resolved(Self.tableNames + replaced + runs, of: path)
    }

    /// That no input of a run is among what is removed.
    ///
    /// - Throws: `FolderOccupied`.
    package func checkInputs(of config: RunConfig, outside removed: Set<String>) throws {
        try config.checkInputs(outside: removed, of: path)
    }

    /// What becomes of a sweep that is stopped now, in a line.
    package func stopAdvice(overwrites: Bool) -> String {
        "stopped on request; the same command with --out \(path)" + (overwrites ? ", without --overwrite," : "")
            + " goes on with the runs that have not finished"
    }
}
