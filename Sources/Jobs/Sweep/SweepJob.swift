package import Collectives
internal import Configuration
package import Runs
internal import Support

/// Runs the jobs of a grid one after the other, each in a folder of its own, and keeps a table of their results.
///
/// A run that has finished is not made again, and one that was stopped resumes: the same command goes through the grid as often
/// as it takes. A run that fails is a row of the table that says why; the others go ahead.
package struct SweepJob {
    package static let name = "sweep"

    private let file: String

    package init(_ file: String) { self.file = file }

    /// Jobs that leave a table of scores.
    private static var jobs: [any Job] { [RotateJob(), TrainJob(), QatJob(), PtqJob(), QuantizeJob(), EvaluateJob()] }

    private static func job(_ name: String) -> (any Job)? { jobs.first { type(of: $0).name == name } }

    /// - Parameter request: settings of all runs, over those of the grid's file; its `out` is the sweep's folder.
    /// - Throws: ``ConfigurationError`` before anything runs, for a run that could not begin; at the end the error of the first
    ///   run that failed. Collective.
    package func run(_ request: JobRequest, _ reporter: Reporter, on communicator: some Communicator) throws {
        let grid = try communicator.agree { try SweepGrid(file: file) }
        let folder = try communicator.fromRoot {
            try check(grid, request).out ?? request.runFolder ?? RunFolder.newPath(job: Self.name)
        }
        try communicator.agree {
            guard communicator.isRoot else { return }
            try makeFolder(parentDirectory(of: folder))
            try makeFolder(folder)
        }
        var report = SweepReport(grid)
        var failure: AgreedError?
        for (index, run) in grid.runs.enumerated() {
            let path = "\(folder)/\(run.name)"
            reporter.note("\n== run \(index + 1) of \(grid.runs.count): \(run.name)")
            do {
                guard let job = Self.job(run.job) else { preconditionFailure("checked above") }
                var own = request
                own.settings = settings(run, request, out: path)
                try job.run(own, reporter, on: communicator)
                try communicator.agree {
                    if communicator.isRoot { try report.add(run, summary: "\(path)/\(RunFiles.summary)") }
                }
            } catch let error as AgreedError {
                reporter.note("run \(run.name) failed: \(error.description)")
                report.add(run, error)
                failure = failure ?? error
            }
            try communicator.agree { if communicator.isRoot { try report.write(to: folder) } }
        }
        reporter.note("\n" + report.table + "\n\nsweep.csv, sweep.json and sweep.svg are in \(folder)")
        if let failure { throw failure }
    }

    private func settings(_ run: SweepGrid.Run, _ request: JobRequest, out: String) -> SettingsRequest {
        var settings = request.settings
        settings.assignments = run.assignments + settings.assignments.filter { !$0.hasPrefix("out=") } + ["out=\(out)"]
        return settings
    }

    /// That every run's settings are known and its job is one; the sweep's own settings.
    private func check(_ grid: SweepGrid, _ request: JobRequest) throws -> RunConfig {
        for run in grid.runs {
            guard Self.job(run.job) != nil else {
                let names = Self.jobs.map { type(of: $0).name }.joined(separator: ", ")
                throw ConfigurationError(file, "'\(run.job.prefix(100))' is no job of a sweep; expected one of \(names)")
            }
            _ = try settings(run, request, out: "auto").configuration(job: run.job)
        }
        return try RunConfig(assignments: request.settings.assignments.filter { $0.hasPrefix("out=") })
    }
}
