package import Collectives
package import Configuration
internal import Models
internal import Parallelism
internal import Planning
package import Runs
internal import Support
internal import TensorCore

/// How a job was asked for: its settings, and what the command line and whoever started it say besides.
package struct JobRequest {
    package var settings: SettingsRequest
    /// Show the settings and do nothing.
    package var printsSettings: Bool
    /// nil for jobs that keep no checkpoints.
    package var resume: ResumePolicy?
    /// What the run folder holds may be removed.
    package var overwrites: Bool
    /// Checkpoints of a run on other training data are resumed.
    package var acceptsOtherData: Bool
    /// Checkpoints of ranks in another layout are resumed.
    package var acceptsRelayout: Bool
    /// Number of this start of the run, from 1.
    package var attempt: Int
    /// What all attempts of the run are called; nil where nobody counts them.
    package var run: String?
    /// The name of the process that starts all attempts, where there is one.
    package var supervisor: String?
    /// Where all attempts write, if neither `out` nor `--resume` names a folder.
    package var runFolder: String?
    /// The file that gets a timeline of all ranks; nil for none.
    package var trace: String?
    /// What is said where the run is stopped, if it is a part of something else; nil: where its own state is.
    package var stopAdvice: (@Sendable () -> String)?
    /// An unfinished run with other settings is refused, whatever it has left.
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
    /// The settings of a job, which rank 0 reads and checks for all; where they name run folders, the files that are meant.
    /// Collective.
    ///
    /// - Parameter job: see ``configuration(job:)``.
    package func configuration(job: String = "", on communicator: some Communicator) throws -> RunConfig {
        try RunConfig(encoded: communicator.fromRoot { try checked(job).resolvingRunFolders().encoded })
    }

    /// The settings of a job; the user is told of keys that have another name now.
    fileprivate func checked(_ job: String) throws -> RunConfig {
        try configuration(job: job) { Console.printError("warning: \($0)") }
    }

    /// All settings as a YAML file, with paths as they are given. Collective.
    package func text(job: String = "", on communicator: some Communicator) throws -> String {
        try communicator.fromRoot { String(try checked(job).yaml.dropLast()) }
    }
}

extension RunConfig {
    /// As many threads as the settings ask for, and there is room for; where they are. Collective.
    package func chooseThreads(on communicator: some Communicator) throws -> Placement {
        if let threads = parallel.threads { Team.threads = threads }
        return try Placement(of: communicator)
    }
}

extension Job {
    /// Runs this job in its folder: from the beginning, or where it stopped, or not at all where it has finished. Collective.
    ///
    /// - Throws: ``ConfigurationError``, ``FolderOccupied`` before anything is read or written; what the job throws.
    package func run(_ request: JobRequest, _ reporter: Reporter, on communicator: some Communicator) throws {
        if request.printsSettings {
            return reporter.note(try request.settings.text(job: Self.name, on: communicator))
        }
        let config = try request.settings.configuration(job: Self.name, on: communicator)
        try communicator.agree { try Self.checkSettings(config) }
        let asked = request.resume
        // What is made here on rank 0 is, like the lock in it, gone again where the run is refused.
        let new = NewRunFolder(job: Self.name)
        defer { new.release() }
        let path = try communicator.fromRoot {
            (config.out ?? asked?.runFolder ?? request.runFolder ?? new.make()).withoutEndingSlashes
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
        do {
            try traced(request.trace, groups, reporter) {
                try self.run(
                    JobContext(
                        config: config, groups: groups, folder: folder, reporter: reporter, events: events, resume: policy,
                        acceptsOtherData: request.acceptsOtherData, acceptsRelayout: request.acceptsRelayout,
                        attempt: request.attempt))
            }
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

    /// Does the job's work, and writes what the ranks' time went into, where that is asked for: also of a run that is stopped.
    /// Collective.
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

    /// Makes the exports that a finished run lacks, since it was killed or failed at them, and tells what was done. Collective.
    private static func complete(
        _ config: RunConfig, _ request: JobRequest, _ path: String, _ reporter: Reporter, on communicator: some Communicator
    ) throws {
        let made = try communicator.fromRoot {
            let folder = RunFolder(path, supervisor: request.supervisor, isWriter: true)
            let exports = RunExports(config: config, folder: folder, reporter: reporter)
            return try exports.complete(job: name).map(\.rawValue).joined(separator: ", ")
        }
        if !made.isEmpty {
            reporter.note("\(path): this run had finished but for exports, which are made now: \(made)")
        } else if request.attempt > 1, RunFolder.lastRun(path) == (request.run ?? "") {
            reporter.note("an earlier attempt has ended this run; its results are in \(path)")
        } else {
            reporter.note("\(path): this run has finished, and its results are there; --overwrite runs it again")
        }
    }

    /// Whether the run may begin in its folder, and from what; the user is told where it is neither new nor resumed.
    /// Collective.
    private static func admit(
        _ request: JobRequest, _ config: RunConfig, folder path: String, _ reporter: Reporter,
        on communicator: some Communicator
    ) throws -> (FolderAdmission, ResumePolicy) {
        var request = request
        // What the user asked for was meant for the first attempt of a supervised run.
        let isLaterAttempt =
            try communicator.fromRoot {
                request.attempt > 1 && RunFolder.lastRun(path) == (request.run ?? "") ? "later" : "first"
            } == "later"
        if isLaterAttempt {
            request.overwrites = false
            if request.resume == .never { request.resume = .auto }
        }
        let text = try communicator.fromRoot {
            try FolderAdmission.check(
                path, job: name, config, resume: request.resume, overwrites: request.overwrites,
                acceptsRelayout: request.acceptsRelayout, comparesUnfinished: request.comparesUnfinished
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
        let namesOwn = try communicator.fromRoot { request.resume?.isFrom(path) == true ? "own" : "other" } == "own"
        let policy = request.policy(admission, folder: path, namesOwn: namesOwn, isLaterAttempt: isLaterAttempt)
        return (admission, policy)
    }
}

extension JobRequest {
    /// What the run resumes from.
    ///
    /// - Parameters:
    ///   - namesOwn: `--resume` names the run's own folder or a checkpoint in it.
    ///   - isLaterAttempt: an earlier one of the same run has begun there.
    fileprivate func policy(
        _ admission: FolderAdmission, folder: String, namesOwn: Bool, isLaterAttempt: Bool
    ) -> ResumePolicy {
        switch (resume, admission) {
        case (nil, _): return .never
        case (.from(let place), _) where namesOwn && isLaterAttempt: return .since(place, run: run ?? "")
        case (.from(let place), _) where namesOwn: return .from(place)
        // It may have begun with another run's checkpoint, and has checkpoints of its own since.
        case (_, .extends): return .from(folder)
        case (.from, .resumes): return .auto
        case (.from(let place), _): return .from(place)
        case (_, .resumes): return .auto
        case (_, .begins), (_, .finished): return .never
        }
    }
}
