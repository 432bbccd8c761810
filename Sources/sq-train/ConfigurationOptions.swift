internal import ArgumentParser
internal import Collectives
internal import Parallelism
internal import Training

/// The options that make a run's configuration.
struct ConfigurationOptions: ParsableArguments {
    @Option(help: ArgumentHelp("A YAML file with settings.", valueName: "file"))
    var config: String?

    @Option(
        name: .customLong("set"), parsing: .singleValue,
        help: ArgumentHelp("One setting, over the file's; may be repeated.", valueName: "key.path=value"))
    var assignments: [String] = []

    @Option(help: ArgumentHelp("The run folder (default: runs/<job>-<time>).", valueName: "folder"))
    var out: String?

    @Flag(help: "Print all settings as a YAML file with a comment for each, and end.")
    var printConfig = false

    func validate() throws {
        for assignment in assignments where !assignment.dropFirst().contains("=") {
            throw ValidationError("--set \(assignment): expected key.path=value")
        }
    }

    /// The configuration as these options make it.
    func settings() throws -> RunConfig {
        try RunConfig(file: config, assignments: assignments + (out.map { ["out=\($0)"] } ?? []))
    }

    /// The configuration, which rank 0 reads and checks for all. Collective.
    func load(on communicator: some Communicator) throws -> RunConfig {
        try RunConfig(yaml: try communicator.fromRoot { try settings().yaml })
    }
}

/// The option of the jobs that can be gone on with.
struct ResumeOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Go on from a checkpoint: auto (in the run folder, if the run there did not end), never, or a run folder or checkpoint.",
            valueName: "auto|never|folder"))
    var resume = "auto"
}

extension Job {
    /// Runs this job as the options say. Collective.
    func run(_ options: ConfigurationOptions, _ resume: ResumeOptions? = nil, on communicator: some Communicator) throws {
        var config = try options.load(on: communicator)
        let reporter = Reporter(isSpeaking: communicator.isRoot, isTerminal: ProcessEnvironment.isOnTerminal)
        guard !options.printConfig else {
            reporter.note(String(config.yaml.dropLast()))
            return
        }
        let asked = resume.map { ResumePolicy($0.resume) } ?? .never
        let (attempt, runFolder) = (ProcessEnvironment.attempt, ProcessEnvironment.runFolder)
        let path = try communicator.fromRoot {
            config.out ?? asked.runFolder ?? runFolder ?? RunFolder.newPath(job: Self.name)
        }
        config = try RunConfig(yaml: config.yaml, assignments: ["out=\(path)"])
        communicator.watch(longestWait: .seconds(config.watchdog.step))
        let run = ProcessEnvironment.run ?? ""
        let earlier = try communicator.fromRoot {
            guard attempt > 1, resume != nil, RunFolder.lastRun(path) == run else { return RunFolder.Progress.none.rawValue }
            return RunFolder.progress(path).rawValue
        }
        // An attempt may fail after it has got to the end, as where MPI cannot finish.
        guard earlier != RunFolder.Progress.ended.rawValue else {
            reporter.note("an earlier attempt has ended this run; its results are in \(path)")
            return
        }
        // Where the first attempt was to start, a later one has been.
        let policy = earlier == RunFolder.Progress.saved.rawValue ? .auto : asked
        let dims = try config.chooseLayout(job: Self.name, resume: policy, runFolder: path, over: communicator)
        let events = try communicator.agree {
            guard communicator.isRoot else { return RunEvents() }
            return try RunEvents(config.events, job: Self.name, ranks: communicator.size, note: reporter.note)
        }
        reporter.events = events
        let folder = RunFolder(path, run: run, isWriter: communicator.isRoot, events: events)
        let groups = try ParallelGroups(dims, communicator)
        do {
            try self.run(
                JobContext(config: config, groups: groups, folder: folder, reporter: reporter, events: events, resume: policy,
                    attempt: attempt))
        } catch let stop as RunStopped {
            reporter.note(stop.description)
        } catch {
            events.end(AgreedError(error))
            throw error
        }
        events.end()
    }
}
