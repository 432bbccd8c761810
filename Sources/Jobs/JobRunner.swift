package import Collectives
package import Configuration
internal import Models
internal import Parallelism
internal import Planning
package import Runs
internal import Support
internal import TensorCore

/// A request for a job: its settings, and further information from the command line and the supervisor.
package struct JobRequest {
    package var settings: SettingsRequest
    /// Whether to show the settings and do nothing else.
    package var printsSettings: Bool
    /// How to resume; nil for jobs that keep no checkpoints.
    package var resume: ResumePolicy?
    /// Whether the contents of the run folder may be removed.
    package var overwrites: Bool
    /// Whether checkpoints of a run on other training data are accepted.
    package var acceptsOtherData: Bool
    /// Whether checkpoints of another layout are accepted.
    package var acceptsRelayout: Bool
    /// Number of this start of the run, from 1.
    package var attempt: Int
    /// The name shared by all attempts of the run; nil where neither `launch` nor Slurm gives one.
    package var run: String?
    /// The name of the process that starts all attempts, if there is one.
    package var supervisor: String?
    /// The folder for all attempts, if neither `out` nor `--resume` names one.
    package var runFolder: String?
    /// The file for a timeline of all ranks; nil for none.
    package var trace: String?
    /// The advice when the run is stopped, if it is part of something else; nil: advice on the run's own state.
    package var stopAdvice: (@Sendable () -> String)?
    /// Whether an unfinished run with other settings is always refused.
    package var comparesUnfinished = false

    package init(
        _ settings: SettingsRequest, printsSettings: Bool = false, resume: ResumePolicy? = nil, overwrites: Bool = false,
        acceptsOtherData: Bool = false, acceptsRelayout: Bool = false,
        attempt: Int = 1, run: String? = nil, supervisor: String? = nil, runFolder: String? = nil, trace: String? = nil
    ) {
        (self.settings, self.printsSettings) = (settings, printsSettings)
        (self.resume, self.overwrites) = (resume, overwrites)
        (self.acceptsOtherData, self.acceptsRelayout, self.attempt) = (acceptsOtherData, acceptsRelayout, attempt)
        (self.run, self.supervisor, self.runFolder) = (run, supervisor, runFolder)
        self.trace = trace
    }
}

extension SettingsRequest {
    /// The settings of a job, which rank 0 reads and checks for all ranks. Paths of run folders are replaced by the files that
    /// are meant. Collective.
    ///
    /// - Parameter job: see ``configuration(job:)``.
    package func configuration(job: String = "", on communicator: some Communicator) throws -> RunConfig {
        try RunConfig(encoded: communicator.fromRoot { try checked(job).resolvingRunFolders().encoded })
    }

    /// The settings of a job, with a warning for keys that have a new name.
    fileprivate func checked(_ job: String) throws -> RunConfig {
        try configuration(job: job) { Console.printError("warning: \($0)") }
    }

    /// All settings as a YAML file, with the given paths. Collective.
    package func text(job: String = "", on communicator: some Communicator) throws -> String {
        try communicator.fromRoot { String(try checked(job).yaml.dropLast()) }
    }
}

extension RunConfig {
    /// Starts as many threads as the settings ask for and limits allow, and returns their placement. Collective.
    package func chooseThreads(on communicator: some Communicator) throws -> Placement {
        if let threads = parallel.threads { Team.threads = threads }
        return try Placement(of: communicator)
    }
}

extension Job {
    /// Runs this job in its folder: from the beginning, from where it stopped, or not at all if it has finished. Collective.
    ///
    /// - Throws: ``ConfigurationError``, ``FolderOccupied`` before anything is read or written; errors of the job.
    package func run(_ request: JobRequest, _ reporter: Reporter, on communicator: some Communicator) throws {
        if request.printsSettings {
            return reporter.note(try request.settings.text(job: Self.name, on: communicator))
        }
        let config = try request.settings.configuration(job: Self.name, on: communicator)
        try communicator.agree { try Self.checkSettings(config) }
        let asked = request.resume
        // The folder that rank 0 makes here, and the lock in it, are removed again if the run is refused.
        let new = NewRunFolder(job: Self.name)
        defer { new.release() }
        let path = try communicator.fromRoot {
            try asked?.checkPlace()
            return (config.out ?? asked?.runFolder ?? request.runFolder ?? new.make()).withoutEndingSlashes
        }
        try communicator.agree {
            if communicator.isRoot, let file = request.trace {
                try TraceSession<LoopbackCommunicator>.check(file, madeLater: path)
            }
        }
        if let problem = try communicator.watch(longestWait: .seconds(config.watchdog.step)) {
            reporter.note("warning: \(problem)")
        }
        let placement = try config.chooseThreads(on: communicator)
        let (admission, policy) = try Self.admit(request, config, folder: path, reporter, on: communicator)
        if admission == .finished { return try Self.complete(config, request, path, reporter, on: communicator) }
        reporter.note(placement.line)
        let dims =
            Self.hasReplicas
            ? try config.chooseLayout(
                job: Self.name, stagesBefore: { policy.layout(runFolder: path)?.pipeline }, over: communicator)
            : try communicator.agree { try config.stagesAlone(Self.name, worldSize: communicator.size) }
        let events = try communicator.agree {
            guard communicator.isRoot else { return RunEvents() }
            return try RunEvents(config.events, job: Self.name, ranks: communicator.size, note: reporter.note)
        }
        reporter.events = events
        let folder = RunFolder(
            path, run: request.run ?? "", supervisor: request.supervisor, isWriter: communicator.isRoot, events: events)
        let overwrites = request.overwrites
        StopRequest.setAdvice(request.stopAdvice ?? { RunFolder.stopAdvice(path, overwrites: overwrites) })
        folder.mayReplaceFinished = request.overwrites || admission != .begins && admission != .resumes
        let groups = try ParallelGroups(dims, communicator)
        try ending(events) {
            try traced(request.trace, groups, reporter) {
                try self.run(
                    JobContext(
                        config: config, groups: groups, folder: folder, reporter: reporter, events: events, resume: policy,
                        acceptsOtherData: request.acceptsOtherData, acceptsRelayout: request.acceptsRelayout,
                        attempt: request.attempt))
            }
        }
    }

    /// Does the job's work, and publishes how it has ended.
    private func ending(_ events: RunEvents, _ work: () throws -> Void) throws {
        do {
            try work()
        } catch let stop as StopRequested {
            events.end(exitCode: StopRequest.exitCode(of: stop.signal))
            throw stop
        } catch {
            events.end(AgreedError(error))
            if let common = error as? any ReportableError, common.isCommon { throw AgreedError(common) }
            throw error
        }
        events.end()
    }

    /// Does the job's work, and writes the timeline of the ranks if asked for, also when the run is stopped. Collective.
    private func traced<World: Communicator>(
        _ path: String?, _ groups: ParallelGroups<World>, _ reporter: Reporter, _ work: () throws -> Void
    ) throws {
        guard let path else { return try work() }
        let world = groups.world
        let session = try TraceSession(path, over: world)
        func finish() throws {
            let row =
                "rank \(world.rank)" + (world.size > 1 ? ": replica \(groups.replica), stage \(groups.stage)" : "")
            let written = try session.finish(title: "sq-train \(Self.name)", row: row)
            reporter.note("\(path): a timeline of \(counted(world.size, "rank")), for ui.perfetto.dev")
            if written.dropped > 0 {
                reporter.note(
                    "warning: \(path) lacks the last \(written.dropped) spans: it keeps the first \(written.limit) of a rank")
            }
        }
        do {
            try work()
        } catch let stop as StopRequested {
            do { try StopRequest.shielded(finish) } catch { reporter.note("warning: \(AgreedError(error).description)") }
            throw stop
        }
        try StopRequest.shielded(finish)
    }

    /// Makes the missing exports of a finished run that was killed or failed during them, and reports that. Collective.
    private static func complete(
        _ config: RunConfig, _ request: JobRequest, _ path: String, _ reporter: Reporter, on communicator: some Communicator
    ) throws {
        let made = try communicator.fromRoot {
            let folder = RunFolder(path, supervisor: request.supervisor, isWriter: true)
            // The run may have been killed once its summary was written.
            try removeTree(folder.file(RunFiles.finishedLayers))
            let exports = RunExports(config: config, folder: folder, reporter: reporter)
            return try exports.complete(job: name).map(\.rawValue).joined(separator: ", ")
        }
        if !made.isEmpty {
            reporter.note("\(path): this run had finished but for exports, which are made now: \(made)")
        } else if request.attempt > 1, RunFolder.lastRun(path) == (request.run ?? "") {
            reporter.note("an earlier attempt has ended this run; its results are in \(path)")
        } else {
            reporter.note("\(path): this run has finished; --overwrite runs it again")
        }
    }

    /// Decides whether the run may begin in its folder, and from what. The user gets a note if it is neither new nor resumed.
    /// Collective.
    private static func admit(
        _ request: JobRequest, _ config: RunConfig, folder path: String, _ reporter: Reporter,
        on communicator: some Communicator
    ) throws -> (FolderAdmission, ResumePolicy) {
        var request = request
        // The user's request applies to the first attempt of a supervised run.
        let isLaterAttempt =
            try communicator.rootDecides { request.attempt > 1 && RunFolder.lastRun(path) == (request.run ?? "") }
        if isLaterAttempt {
            request.overwrites = false
            if request.resume == .never { request.resume = .auto }
        }
        let text = try communicator.fromRoot {
            try FolderAdmission.check(
                path, job: name, config, resume: request.resume, overwrites: request.overwrites,
                acceptsOtherData: request.acceptsOtherData, acceptsRelayout: request.acceptsRelayout,
                comparesUnfinished: request.comparesUnfinished
            ).text
        }
        let admission = FolderAdmission(text: text)
        switch admission {
        case .begins, .resumes, .finished: break
        case .extends(let steps):
            reporter.note(
                "\(path): extends the finished run of \(steps) steps to \(config.training.steps), and replaces its results; "
                    + "from step \(steps) on the learning rate follows the longer schedule")
        }
        let namesOwn = try communicator.rootDecides { request.resume?.isFrom(path) ?? false }
        let policy = request.policy(admission, folder: path, namesOwn: namesOwn, isLaterAttempt: isLaterAttempt)
        if case .from(let place) = request.resume, policy != .from(place), !isLaterAttempt {
            reporter.note("note: \(place) is not read, since \(path) has checkpoints of its own")
        }
        return (admission, policy)
    }
}

extension JobRequest {
    /// Where the run resumes.
    ///
    /// - Parameters:
    ///   - namesOwn: whether `--resume` names the run's own folder or a checkpoint in it.
    ///   - isLaterAttempt: whether an earlier attempt of the same run has begun there.
    fileprivate func policy(
        _ admission: FolderAdmission, folder: String, namesOwn: Bool, isLaterAttempt: Bool
    ) -> ResumePolicy {
        switch (resume, admission) {
        case (nil, _): return .never
        case (.from(let place), _) where namesOwn && isLaterAttempt: return .since(place, run: run ?? "")
        case (.from(let place), _) where namesOwn: return .from(place)
        // It may have begun from another run's checkpoint, and has had its own checkpoints since.
        case (_, .extends): return .from(folder)
        case (.from, .resumes): return .auto
        case (.from(let place), _): return .from(place)
        case (_, .resumes): return .auto
        case (_, .begins), (_, .finished): return .never
        }
    }
}
