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
        help: ArgumentHelp("One setting, which overrides the file's; may be repeated.", valueName: "key.path=value"))
    var assignments: [String] = []

    @Option(help: ArgumentHelp("The run folder (default: runs/<job>-<time>).", valueName: "folder"))
    var out: String?

    @Flag(help: "Replace what the run folder holds: a finished run, another job's, or files that belong to no run.")
    var overwrite = false

    @Flag(help: "Print all settings as a YAML file with a comment for each, and end.")
    var printConfig = false

    func validate() throws {
        for assignment in assignments where !assignment.dropFirst().contains("=") {
            throw ValidationError("--set \(assignment): expected key.path=value")
        }
    }

    /// Refuses what is about a run's folder, for a command without one.
    func checkNamesNoFolder(_ command: String) throws {
        let given = [("--out", out != nil), ("--overwrite", overwrite)].first(where: \.1)?.0
        let assigned = assignments.first { $0.hasPrefix("out=") }.map { "--set \($0)" }
        if let given = given ?? assigned { throw ValidationError("\(command) writes no run folder; leave \(given) out") }
    }

    /// - Parameter model: where `model.path` is given as an argument.
    func request(_ model: String? = nil) -> SettingsRequest {
        SettingsRequest(file: config, assignments: assignments + (out.map { ["out=\($0)"] } ?? []), model: model)
    }
}

extension RankCommand {
    /// Does the work of a command without a run folder, with its settings; or prints them where that is asked for. Collective.
    ///
    /// - Parameter model: what stands for `model.path`, where the command looks into the folder as it is given.
    func withSettings(
        model: String? = nil, on communicator: some Communicator, _ work: (RunConfig, Reporter) throws -> Void
    ) throws {
        let (request, reporter) = (options.request(), Reporter(isSpeaking: communicator.isRoot))
        let job = Self.configuration.commandName ?? ""
        try communicator.agree { if let model { try request.checkModel(isNot: model) } }
        guard !options.printConfig else { return reporter.note(try request.text(job: job, on: communicator)) }
        try work(request.configuration(job: job, on: communicator), reporter)
    }
}

/// The options of resumable jobs.
struct ResumeOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Resume: auto (the newest checkpoint in the run folder, if unfinished), never, or a run folder or checkpoint.",
            valueName: "auto|never|folder"))
    var resume = "auto"

    @OptionGroup var changes: ChangeOptions
}

/// What may have changed since a run was stopped.
struct ChangeOptions: ParsableArguments {
    @Flag(help: "Resume also where the training data has changed since the checkpoint; the run says so.")
    var allowOtherData = false

    @Flag(
        help: "Resume also with another number of ranks, replicas or stages than the checkpoint's; results agree to rounding.")
    var allowRelayout = false

    /// Asked for here, or by `launch`.
    var acceptsRelayout: Bool { allowRelayout || ProcessEnvironment.acceptsRelayout }
}

/// The options of jobs whose time can be looked at.
struct TraceOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Write a timeline of all ranks when the run ends, in the Chrome trace format (ui.perfetto.dev shows it).",
            valueName: "file"))
    var trace: String?

    func validate() throws {
        if trace?.isEmpty == true { throw ValidationError("--trace takes the name of a file to write") }
    }
}

/// The model of a job, as an argument.
struct ModelArgument: ParsableArguments {
    @Argument(help: "A Hugging Face folder, a run folder with a model, or a GGUF file (default: model.path).")
    var model: String?
}
