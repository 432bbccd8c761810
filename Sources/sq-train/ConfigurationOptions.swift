internal import ArgumentParser
internal import Collectives
internal import Configuration
internal import Jobs
internal import Runs

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

    @Flag(help: "Replace what the run folder holds: a finished run, another job's, or files that are no run's.")
    var overwrite = false

    @Flag(help: "Print all settings as a YAML file with a comment for each, and end.")
    var printConfig = false

    func validate() throws {
        for assignment in assignments where !assignment.dropFirst().contains("=") {
            throw ValidationError("--set \(assignment): expected key.path=value")
        }
    }

    /// The configuration as these options make it.
    func settings(job: String = "", reproducing reproduced: String? = nil) throws -> RunConfig {
        try RunConfig(
            file: config, assignments: assignments + (out.map { ["out=\($0)"] } ?? []), reproducing: reproduced, job: job)
    }

    /// The configuration, which rank 0 reads and checks for all; run folders in it stand for what is meant of them. Collective.
    ///
    /// - Parameters:
    ///   - job: where it uses rotations, what their file says stands in the place of defaults.
    ///   - model: where `model.path` is given as an argument; for eval also a finished run, whose table is to be made again.
    func load(job: String = "", _ model: String? = nil, on communicator: some Communicator) throws -> RunConfig {
        let yaml = try communicator.fromRoot {
            var options = self
            let run = model.flatMap { job == EvaluateJob.name && RunConfig.isRun($0) ? $0 : nil }
            if let model {
                if let other = assignments.first(where: { $0.hasPrefix("model.path=") }) {
                    throw ConfigurationError("--set \(other)", "the model is given twice, here and as the argument \(model)")
                }
                if run == nil { options.assignments.append("model.path=\(model)") }
            }
            let config = try options.settings(job: job, reproducing: run)
            return try (printConfig ? config : config.resolvingRunFolders()).yaml
        }
        return try RunConfig(yaml: yaml)
    }
}

/// The options of resumable jobs.
struct ResumeOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Resume: auto (the newest checkpoint in the run folder, if unfinished), never, or a run folder or checkpoint.",
            valueName: "auto|never|folder"))
    var resume = "auto"

    @Flag(help: "Resume also where the training data has changed since the checkpoint; the run says so.")
    var allowOtherData = false
}

extension Job {
    /// Runs this job as the options say. Collective.
    func run(
        _ options: ConfigurationOptions, _ resume: ResumeOptions? = nil, model: String?, on communicator: some Communicator
    ) throws {
        let config = try options.load(job: Self.name, model, on: communicator)
        let reporter = Reporter(isSpeaking: communicator.isRoot, isTerminal: ProcessEnvironment.isOnTerminal)
        guard !options.printConfig else {
            reporter.note(String(config.yaml.dropLast()))
            return
        }
        let request = JobRequest(
            config, resume: resume.map { ResumePolicy($0.resume) }, overwrites: options.overwrite,
            acceptsOtherData: resume?.allowOtherData ?? false,
            attempt: ProcessEnvironment.attempt, run: ProcessEnvironment.run, runFolder: ProcessEnvironment.runFolder)
        try run(request, reporter, on: communicator)
    }
}
