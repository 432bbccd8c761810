internal import ArgumentParser
internal import Collectives
internal import Configuration
internal import Glibc
internal import Runs
internal import Support

struct LaunchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "launch",
        abstract: "Run sq-train under mpirun with the flags this machine needs.",
        usage: "sq-train launch -n 8 [--max-restarts 3 [--allow-relayout]] [rotate --set key.path=value …]")

    static let mostRanks = 65536

    @Option(name: [.customShort("n"), .customLong("ranks")], help: "Number of ranks.")
    var ranks: Int

    @Option(
        help: ArgumentHelp(
            "How often to start again after a failure that may be temporary (exit codes \(Supervisor.restartedCodes))."))
    var maxRestarts = 0

    @Flag(
        help: "Start again with fewer ranks where Slurm has fewer nodes left for the job; the run resumes in another layout.")
    var allowRelayout = false

    @Argument(parsing: .captureForPassthrough, help: "What every rank runs: sq-train's command and options.")
    var arguments: [String] = []

    /// Without the `--` that may stand before them.
    private var ofRanks: [String] { arguments.first == "--" ? Array(arguments.dropFirst()) : arguments }

    func validate() throws {
        guard (1...Self.mostRanks).contains(ranks) else { throw ValidationError("-n takes 1 to \(Self.mostRanks) ranks") }
        guard (0...1000).contains(maxRestarts) else { throw ValidationError("--max-restarts takes 0 to 1000") }
        if ofRanks.first == Self.configuration.commandName { throw ValidationError("launch cannot launch itself") }
    }

    func run() throws {
        guard MPIEnvironment.launch(MPIEnvironment.currentEnvironment()) == .alone else {
            throw ValidationError("launch starts mpirun itself; run it without")
        }
        let mpirun = MPIRun(
            ranks: ranks, nodes: ProcessEnvironment.nodes, cores: MPIEnvironment.availableCores,
            program: try Self.programPath(), arguments: ofRanks)
        try mpirun.check(descriptorLimit: ProcessEnvironment.descriptorLimit)
        ProcessEnvironment.releaseChosenThreads()
        for (name, value) in mpirun.environment { setenv(name, value, 0) }
        if isatty(STDOUT_FILENO) == 1 { setenv(ProcessEnvironment.terminalVariable, "1", 0) }
        // Attempts share a folder, so that each resumes where the last one was saved; the command may name one. What is wrong
        // with the command, the ranks will say.
        let command = try? SQTrain.parseAsRoot(ofRanks) as? any RankCommand
        let readsInput = (command as? GenerateCommand)?.readsInput ?? false
        if readsInput, maxRestarts > 0 {
            throw ValidationError("--max-restarts cannot read standard input a second time; give generate a --prompt")
        }
        let resumed = (command as? any JobCommand)?.resumption.flatMap { ResumePolicy($0.resume).runFolder }
        let named = (try? command?.options.request().out()) ?? resumed
        // Without restarts every run finds a folder of its own.
        let new = NewRunFolder(job: command.flatMap { type(of: $0).configuration.commandName } ?? "launch")
        defer { new.release() }
        let folder = named ?? (maxRestarts > 0 ? new.make() : nil)
        if let folder, maxRestarts > 0 { setenv(ProcessEnvironment.runFolderVariable, folder, 0) }
        setenv(ProcessEnvironment.stopCodeVariable, String(Supervisor.stopCode), 1)
        setenv(ProcessEnvironment.supervisorVariable, ProcessIdentity.own.text, 1)
        StopRequest.handOver()
        setenv(ProcessEnvironment.runVariable, String(UInt64.random(in: 0 ... .max), radix: 36), 0)
        let variables = MPIEnvironment.currentEnvironment()
        if allowRelayout { setenv(ProcessEnvironment.relayoutVariable, "1", 1) }
        let supervisor = Supervisor(
            command: { attempt in attempt > 1 && allowRelayout ? mpirun.onNodesLeft(variables).commandLine : mpirun.commandLine
            },
            maxRestarts: maxRestarts, runFolder: folder, readsInput: readsInput,
            answers: command.map { type(of: $0).answers } ?? [])
        let code = try supervisor.run()
        if code != 0 { throw ArgumentParser.ExitCode(code) }
    }

    /// The file this program runs from, links resolved: resources lie beside it.
    private static func programPath() throws(LaunchFailure) -> String {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink("/proc/self/exe", &buffer, buffer.count)
        guard count > 0 else { throw LaunchFailure(program: "/proc/self/exe", code: errno) }
        return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// How mpirun is called on this machine.
struct MPIRun {
    var ranks: Int
    /// As far as this process knows.
    let nodes: Int
    let cores: Int
    let program: String
    let arguments: [String]

    /// Ranks are not bound to cores, since a rank's threads would all be bound to the same one, and may be more than the slots
    /// mpirun counts (it counts physical cores). Quiet: after an error mpirun would bury its line under ten of its own.
    var commandLine: [String] {
        ["mpirun", "-q"] + ProcessEnvironment.namesForRanks.flatMap { ["-x", $0] }
            + ["-n", String(ranks), "--map-by", ":OVERSUBSCRIBE", "--bind-to", "none", program] + arguments
    }

    private var localRanks: Int { (ranks + nodes - 1) / nodes }

    /// What the ranks find in their environment, on every node, unless the user has set it.
    var environment: [(name: String, value: String)] {
        var variables: [(name: String, value: String)] = []
        let given = MPIEnvironment.currentEnvironment()
        if (try? ThreadNumber.given(given)) == nil {
            let threads = ProcessEnvironment.threadsPerRank(cores: cores, localRanks: localRanks)
            variables.append(("OPENBLAS_NUM_THREADS", String(threads)))
        }
        if localRanks > cores { variables.append(("OMPI_MCA_mpi_yield_when_idle", "1")) }
        if getuid() == 0 {
            variables += [("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")]
        }
        let excluded = NetworkInterfaces.excluded(among: NetworkInterfaces.addresses()).joined(separator: ",")
        // Open MPI takes one list or the other.
        for layer in ["btl", "oob"] where !excluded.isEmpty && given["OMPI_MCA_\(layer)_tcp_if_include"] == nil {
            variables.append(("OMPI_MCA_\(layer)_tcp_if_exclude", excluded))
        }
        return variables
    }

    /// On the nodes that Slurm has left for the job, which mpirun is told of by the environment; says so where there are fewer.
    ///
    /// - Parameter variables: the environment of the first attempt.
    func onNodesLeft(_ variables: [String: String]) -> MPIRun {
        guard let nodes = SlurmNodes.current(variables), let shrunk = nodes.shrunk(variables, ranks: ranks) else { return self }
        for (name, value) in shrunk.variables { setenv(name, value, 1) }
        var run = self
        run.ranks = shrunk.ranks
        Console.printError("the job has \(nodes.count) nodes left (\(nodes.list)): \(run.ranks) ranks instead of \(ranks)")
        return run
    }

    /// mpirun has four descriptors for each rank it starts, and for itself 26; with fewer it hangs or crashes (measured).
    func check(descriptorLimit: Int) throws(TooFewDescriptors) {
        let needed = 32 + 4 * localRanks
        guard needed > descriptorLimit else { return }
        throw TooFewDescriptors(
            ranks: ranks, needed: needed, limit: descriptorLimit, fitting: (descriptorLimit - 32) / 4 * nodes)
    }
}

/// More ranks than mpirun can start with the files it may open.
struct TooFewDescriptors: ReportableError, Equatable {
    let ranks: Int
    let needed: Int
    let limit: Int
    let fitting: Int

    var exitCode: Support.ExitCode { .configuration }
    var description: String {
        "mpirun needs \(needed) open files to start \(counted(ranks, "rank")), and \(limit) are allowed: raise the limit "
            + "(ulimit -n \(needed))" + (fitting > 0 ? ", or start at most \(fitting)" : "")
    }
}

/// A program that could not be started.
struct LaunchFailure: ReportableError {
    let program: String
    let code: Int32

    var exitCode: Support.ExitCode { .noInput }
    var description: String {
        "\(program) cannot be started: \(String(cString: strerror(code))); install openmpi-bin, or put it on the PATH"
    }
}
