internal import ArgumentParser
internal import Collectives
internal import Jobs
internal import Runs

/// A command that runs a job on a model: it names the job, whose `run` is the place to read on.
protocol JobCommand: RankCommand {
    associatedtype Work: Job
    static var job: Work { get }
    var model: ModelArgument { get }
    /// nil for jobs that keep no checkpoints.
    var resumption: ResumeOptions? { get }
    var tracing: TraceOptions { get }
}

extension JobCommand {
    var resumption: ResumeOptions? { nil }

    func run(on communicator: some Communicator) throws {
        try Self.job.run(options, resumption, model: model.model, trace: tracing.trace, on: communicator)
    }
}

struct RotateCommand: JobCommand {
    static let configuration = CommandConfiguration(
        commandName: "rotate",
        abstract: "Learn rotations for a model (the default command).",
        discussion: "Without model.path it works on the embedded model; --print-config lists all settings.")

    @OptionGroup var model: ModelArgument
    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var tracing: TraceOptions
    @OptionGroup var resume: ResumeOptions

    static var job: RotateJob { RotateJob() }
    var resumption: ResumeOptions? { resume }
}

struct TrainCommand: JobCommand {
    static let configuration = CommandConfiguration(
        commandName: "train",
        abstract: "Train all parameters of a model on text, in full precision.",
        discussion: "training.* and optimizer.* say how; see --print-config.")

    @OptionGroup var model: ModelArgument
    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var tracing: TraceOptions
    @OptionGroup var resume: ResumeOptions

    static var job: TrainJob { TrainJob() }
    var resumption: ResumeOptions? { resume }
}

struct QatCommand: JobCommand {
    static let configuration = CommandConfiguration(
        commandName: "qat",
        abstract: "Train a model to run with ternary factors, or with integers of a few bits.",
        discussion: """
            qat.method=ternary (the default) projects every linear layer onto ternary factors after each step, as ternary.* \
            says; the ranks share that work. qat.method=integer trains with the quantizers of quantization.*.
            """)

    @OptionGroup var model: ModelArgument
    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var tracing: TraceOptions
    @OptionGroup var resume: ResumeOptions

    static var job: QatJob { QatJob() }
    var resumption: ResumeOptions? { resume }
}

struct PtqCommand: JobCommand {
    static let configuration = CommandConfiguration(
        commandName: "ptq",
        abstract: "Replace linear layers by ternary factors, without training.",
        discussion: "ternary.* says how closely and which layers; see --print-config.")

    @OptionGroup var model: ModelArgument
    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var tracing: TraceOptions

    static var job: PtqJob { PtqJob() }
}

struct QuantizeCommand: JobCommand {
    static let configuration = CommandConfiguration(
        commandName: "quantize",
        abstract: "Round a model's linear layers to integers of a few bits and write them packed.",
        discussion: """
            quantization.* says how, and whether embedding and head are rounded too; weights get 4 bits unless \
            quantization.weights.bits says otherwise, activations and cache none. rotation.path or quantize.transform says \
            what is done first; see --print-config.
            """)

    @OptionGroup var model: ModelArgument
    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var tracing: TraceOptions

    static var job: QuantizeJob { QuantizeJob() }
}

struct EvaluateCommand: JobCommand {
    static let configuration = CommandConfiguration(
        commandName: "eval",
        abstract: "Perplexity of a model, as it is and rounded to nearest as quantization.* says.",
        discussion: """
            Windows of data.eval.path, or sequences the model draws itself where no text is given.
            With a run folder of rotate, quantize, ptq, qat, train or eval it scores again what that run made, from the run's \
            settings and files, beside the model the run began with.
            """)

    @OptionGroup var model: ModelArgument
    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var tracing: TraceOptions

    static var job: EvaluateJob { EvaluateJob() }
}

extension Job {
    /// Runs this job as the options say. Collective.
    func run(
        _ options: ConfigurationOptions, _ resume: ResumeOptions? = nil, model: String?, trace: String? = nil,
        on communicator: some Communicator
    ) throws {
        let request = JobRequest(
            options.request(model), printsSettings: options.printConfig, resume: resume.map { ResumePolicy($0.resume) },
            overwrites: options.overwrite, acceptsOtherData: resume?.changes.allowOtherData ?? false,
            acceptsRelayout: resume?.changes.acceptsRelayout ?? ProcessEnvironment.acceptsRelayout,
            attempt: ProcessEnvironment.attempt, run: ProcessEnvironment.run,
            supervisor: ProcessEnvironment.supervisor?.text, runFolder: ProcessEnvironment.runFolder, trace: trace)
        let reporter = Reporter(isSpeaking: communicator.isRoot, isTerminal: ProcessEnvironment.isOnTerminal)
        try run(request, reporter, on: communicator)
    }
}
