internal import ArgumentParser
internal import Collectives
internal import Jobs
internal import Runs

struct SweepCommand: RankCommand {
    static let configuration = CommandConfiguration(
        commandName: "sweep",
        abstract: "Run a grid of jobs, and compare their results.",
        discussion: """
            The file lists jobs with a grid of settings each:
              settings: {data.eval.path: test.txt}
              runs:
                - job: quantize
                  grid: {quantization.weights.bits: [3, 4], quantization.weights.method: [rtn, gptq]}
                - job: ptq
                  grid: {ternary.tolerance: [0.1, 0.2]}
            Below --out each run has a folder, named after its job and grid; sweep.csv and sweep.json have a row for each, \
            sweep.svg is the picture. The same command resumes: finished runs are not made again. The grid may have more \
            or fewer runs then; for other settings of those that are there give another --out, or --overwrite to start over.
            """)

    @Argument(help: ArgumentHelp("A YAML file with runs.", valueName: "file"))
    var grid: String

    @Option(
        help: ArgumentHelp(
            "Number of runs at a time, each on an equal share of mpirun's ranks; default: one after the other.",
            valueName: "runs"))
    var sideBySide = 1

    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var changes: ChangeOptions

    func validate() throws {
        guard !options.printConfig else { throw ValidationError("--print-config is for one job") }
        guard sideBySide > 0 else {
            throw ValidationError("--side-by-side \(sideBySide) is not a number of runs; give 1 or more")
        }
    }

    func run(on communicator: some Communicator) throws {
        let request = JobRequest(
            options.request(), resume: .auto, overwrites: options.overwrite, acceptsOtherData: changes.allowOtherData,
            acceptsRelayout: changes.acceptsRelayout, attempt: ProcessEnvironment.attempt,
            run: ProcessEnvironment.run, supervisor: ProcessEnvironment.supervisor?.text,
            runFolder: ProcessEnvironment.runFolder)
        let reporter = Reporter(isSpeaking: communicator.isRoot, isTerminal: ProcessEnvironment.isOnTerminal)
        try SweepJob(grid, sideBySide: sideBySide).run(request, reporter, on: communicator)
    }
}
