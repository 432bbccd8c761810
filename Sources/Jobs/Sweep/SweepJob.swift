package import Collectives
internal import Configuration
package import Runs
internal import Support

/// Runs the jobs of a grid, each in a folder of its own, and keeps a table of their results.
///
/// The ranks go through the runs together, or in groups side by side: a group that has finished takes the next run that no
/// group has taken. A finished run is not repeated, and a stopped one resumes, so that the same command can be repeated until
/// the grid is complete. A run that fails becomes a row of the table that gives the reason; the others continue. The grid may
/// have more or fewer runs the next time, but existing runs must keep their settings, or the sweep is refused.
package struct SweepJob {
    package static let name = SweepFolder.job

    private let file: String
    /// Number of runs at a time, each on an equal share of the ranks.
    private let sideBySide: Int

    package init(_ file: String, sideBySide: Int = 1) {
        precondition(sideBySide > 0, "\(sideBySide) runs at a time")
        (self.file, self.sideBySide) = (file, sideBySide)
    }

    /// The job of a name, of those that write a table of scores.
    static func job(_ name: String) -> (any Job)? { ModelJob(rawValue: name)?.job }

    /// - Parameter request: settings for all runs, which override those of the grid's file; its `out` is the sweep's folder.
    /// - Throws: ``ConfigurationError`` and `FolderOccupied` before anything runs or is written, for a run that could not
    ///   begin, ranks that cannot be divided, and a folder that holds something else; at the end the error of the first run of
    ///   the grid that failed. Collective.
    package func run(_ request: JobRequest, _ reporter: Reporter, on world: some Communicator) throws {
        var grid = try world.agree { try SweepGrid(file: file) }
        let new = NewRunFolder(job: Self.name)
        defer { new.release() }
        let folder = try world.fromRoot {
            try (request.settings.out() ?? request.runFolder ?? new.make()).withoutEndingSlashes
        }
        let place = SweepFolder(folder)
        let ledger = SweepLedger(in: folder)
        let overwrites = request.overwrites
        StopRequest.setAdvice { place.stopAdvice(overwrites: overwrites) }
        let lock: FolderLock? = try world.agree {
            guard world.isRoot else { return nil }
            // The user's request applies to the first attempt.
            let beginsAnew = overwrites && !(request.attempt > 1 && place.isBegun(by: request.run ?? ""))
            try checkRanks(world.size)
            let admission = try SweepAdmission(grid, of: file, request, place, overwrites: beginsAnew)
            let lock = try place.begin(
                run: request.run ?? "", supervisor: request.supervisor, clearing: admission.cleared)
            try ledger.begin(finished: admission.finished)
            grid = admission.grid
            return lock
        }
        defer { withExtendedLifetime(lock) {} }
        let names = try world.fromRoot { grid.runs.map(\.name).joined(separator: "\0") }
        grid.place(in: names.split(separator: "\0").map { [String($0)] })
        var request = request
        // Everything to be removed has been removed.
        (request.overwrites, request.comparesUnfinished) = (false, true)
        request.stopAdvice = { place.stopAdvice(overwrites: overwrites) }
        let isAlone = sideBySide == 1
        guard let part = isAlone ? world : try world.split(color: world.rank / (world.size / sideBySide), key: world.rank)
        else { preconditionFailure("every rank has a color") }
        let group = Group(
            grid: grid, folder: folder, ledger: ledger, request: request,
            reporter: isAlone ? reporter : reporter.speaking(part.isRoot),
            jobReporter: isAlone ? reporter : reporter.speaking(false))
        try takeRuns(group, on: part, of: world)
        try world.agree {
            guard world.isRoot else { return }
            let report = try SweepReport(grid, ledger, in: folder)
            try report.write(to: folder)
            try ledger.end()
            let (csv, json, chart) = (SweepFolder.csvName, SweepFolder.jsonName, SweepFolder.chartName)
            reporter.note("\n" + report.table + "\n\n\(csv), \(json) and \(chart) are in \(folder)")
            if let failure = report.firstFailure { throw failure }
        }
    }

    /// Takes runs until none is left, and waits until the last group is done. Collective.
    private func takeRuns<World: Communicator>(_ group: Group, on part: World, of world: World) throws {
        // A group that cannot record how a run has ended stops; the others take the remaining runs.
        var failure: (any Error)?
        do {
            while try group.runNext(on: part) {}
        } catch let error as AgreedError {
            failure = error
        } catch let stop as StopRequested {
            if part.isRoot { group.ledger.stop() }
            failure = stop
        }
        // A group that is asked to stop first lets the others save their runs.
        func meet() throws { try world.agree { if let failure { throw failure } } }
        try failure is StopRequested ? StopRequest.shielded(meet) : meet()
    }

    /// Ranks that go through the runs that no other group has taken.
    private struct Group {
        let grid: SweepGrid
        let folder: String
        let ledger: SweepLedger
        let request: JobRequest
        let reporter: Reporter
        /// Reporter of the jobs themselves, whose lines would otherwise mix with those of other groups.
        let jobReporter: Reporter

        /// - Returns: whether there was a run left. Collective.
        func runNext(on part: some Communicator) throws -> Bool {
            let number = try part.fromRoot { try ledger.take(from: grid.runs.indices).map(String.init) ?? "" }
            guard let index = Int(number) else { return false }
            let run = grid.runs[index]
            let path = "\(folder)/\(run.name)"
            reporter.note("\n== run \(index + 1) of \(grid.runs.count): \(run.name)")
            var failure: AgreedError?
            var own = request
            own.settings = request.settings.of(run, out: path)
            do {
                guard let job = SweepJob.job(run.job) else { preconditionFailure("checked before") }
                try job.run(own, jobReporter, on: part)
            } catch let error as any ReportableError where error is AgreedError || part.size == 1 {
                // If other ranks may be waiting for this one, an error that they do not have ends all.
                reporter.note("run \(run.name) failed: \(error.description)")
                failure = AgreedError(error)
            }
            try part.agree {
                guard part.isRoot else { return }
                try ledger.note(index, of: ModelSource.name(RunConfig(own.settings).model.path), failure)
                try SweepReport(grid, ledger, in: folder).write(to: folder)
            }
            return true
        }
    }

    private func checkRanks(_ ranks: Int) throws(ConfigurationError) {
        guard ranks % sideBySide == 0 else {
            throw ConfigurationError(
                "--side-by-side",
                "\(counted(ranks, "rank")) cannot be divided into \(sideBySide) equal groups; "
                    + "start a multiple of \(sideBySide) ranks with mpirun")
        }
    }
}
