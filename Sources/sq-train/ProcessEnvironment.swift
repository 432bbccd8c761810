internal import ArgumentParser
internal import CKernels
internal import CProcess
internal import Collectives
internal import Glibc
internal import LinearAlgebra
internal import Support
internal import TensorCore

/// What has to stand in the environment before libraries that read it once are loaded.
enum ProcessEnvironment {
    /// Set in the second start of a process, so that there is no third.
    private static let guardVariable = "SQ_TRAIN_ENVIRONMENT_READY"

    /// The run folder that `launch` has chosen for all attempts of a run, where no `out` is set.
    static let runFolderVariable = "SQ_TRAIN_RUN_FOLDER"
    static var runFolder: String? { MPIEnvironment.currentEnvironment()[runFolderVariable] }

    /// The start this is, which `launch` counts.
    static let attemptVariable = "SQ_TRAIN_ATTEMPT"
    /// From 1; Slurm counts too, where it has queued a job again.
    static var attempt: Int {
        let environment = MPIEnvironment.currentEnvironment()
        func number(_ name: String, _ range: ClosedRange<Int>) -> Int? {
            environment[name].flatMap { Int($0) }.flatMap { range.contains($0) ? $0 : nil }
        }
        return (number(attemptVariable, attempts) ?? 1) + (number("SLURM_RESTART_COUNT", 0...attempts.upperBound) ?? 0)
    }

    /// What messages have room for.
    private static let attempts = 1...1 << 30

    /// Throws where the number of the attempt is none.
    static func requireAttempt() throws(AttemptError) {
        guard let text = MPIEnvironment.currentEnvironment()[attemptVariable] else { return }
        guard let number = Int(text), attempts.contains(number) else { throw AttemptError(value: text) }
    }

    /// What `launch` calls the run in all its attempts.
    static let runVariable = "SQ_TRAIN_RUN"
    /// The name of the run, by which a later attempt knows the folder of an earlier one. Slurm's jobs keep theirs when they are
    /// queued again.
    static var run: String? {
        let environment = MPIEnvironment.currentEnvironment()
        return environment["SLURM_JOB_ID"] ?? environment[runVariable]
    }

    /// Set by `launch` where its own output goes to a terminal: below mpirun every rank's seems to.
    static let terminalVariable = "SQ_TRAIN_TERMINAL"
    static var isOnTerminal: Bool {
        let environment = MPIEnvironment.currentEnvironment()
        if MPIEnvironment.launch(environment) != .alone { return environment[terminalVariable] == "1" }
        return isatty(STDOUT_FILENO) == 1
    }

    /// Set by `launch`: the first of the exit codes of ranks that have stopped on request, which it translates.
    static let stopCodeVariable = "SQ_TRAIN_STOP_CODE"
    static var stopCode: Int32? { MPIEnvironment.currentEnvironment()[stopCodeVariable].flatMap { Int32($0) } }

    /// Set by `launch --allow-relayout`.
    static let relayoutVariable = "SQ_TRAIN_ALLOW_RELAYOUT"
    static var acceptsRelayout: Bool { MPIEnvironment.currentEnvironment()[relayoutVariable] == "1" }

    /// Set by `launch` for its ranks: which process it is.
    static let supervisorVariable = "SQ_TRAIN_SUPERVISOR"
    static var supervisor: ProcessIdentity? {
        MPIEnvironment.currentEnvironment()[supervisorVariable].flatMap { ProcessIdentity(text: $0) }
    }

    /// Makes full disks errors, chooses threads and kernels for this process's share of the machine, and starts the program
    /// anew, in the same process, where a library has read the environment already. Call it first: MPI must not be running.
    static func prepare() {
        // A file that may not grow is then an error like a full disk, with the file's name, not the end of the process.
        signal(SIGXFSZ, SIG_IGN)
        raiseDescriptorLimit()
        let environment = MPIEnvironment.currentEnvironment()
        // The team's threads take addresses.
        Team.limit = cprocess_thread_limit()
        do throws(ThreadNumberError) {
            if let given = try ThreadNumber.given(environment) {
                Team.threads = given
            } else {
                Team.threads = MPIEnvironment.coreShare(localRanks: localRanks(environment))
                setenv("OPENBLAS_NUM_THREADS", String(Team.threads), 1)
                setenv(chosenThreadsVariable, "1", 1)
            }
        } catch {
            // Said when all ranks can agree on it.
            Team.threads = 1
        }
        OpenBLAS.useOneThread()
        guard environment[guardVariable] == nil, environment["OPENBLAS_CORETYPE"] == nil else { return }
        guard needsNewerKernels(core: OpenBLAS.core, hasAVX512: ck_has_avx512() != 0) else { return }
        setenv("OPENBLAS_CORETYPE", "SkylakeX", 1)
        setenv(guardVariable, "1", 1)
        restart()
    }

    /// Set where the number of threads is this process's own choice, and not the user's.
    private static let chosenThreadsVariable = "SQ_TRAIN_THREADS_CHOSEN"

    /// Takes back the number of threads that was chosen for this process alone: ranks that it starts have shares of their own.
    static func releaseChosenThreads() {
        guard getenv(chosenThreadsVariable) != nil else { return }
        unsetenv(chosenThreadsVariable)
        unsetenv("OPENBLAS_NUM_THREADS")
    }

    /// Throws where CK_ISA names kernels that do not exist, or that this processor cannot run.
    static func requireKernels() throws(KernelChoiceError) {
        if let refused = ck_refused_isa() { throw KernelChoiceError(wanted: String(cString: refused)) }
    }

    /// Throws where the number of threads that the environment asks for is none.
    static func requireThreadNumber() throws(ThreadNumberError) {
        _ = try ThreadNumber.given(MPIEnvironment.currentEnvironment())
    }

    /// Throws where a word of the command line is no text: Swift's arguments hold other characters in its place.
    static func requireTexts() throws {
        for (place, word) in CommandLine.arguments.enumerated() {
            guard let bytes = CommandLine.unsafeArgv[place], String(validatingCString: bytes) == nil else { continue }
            let option = place > 1 ? CommandLine.arguments[place - 1] : ""
            throw ValidationError(
                "\(option.hasPrefix("--") ? option : "argument \(place)") '\(word.prefix(100))': is not UTF-8")
        }
    }

    /// The soft limit is for programs that keep descriptors in `select`'s sets; every rank's connections count.
    private static func raiseDescriptorLimit() {
        var limit = rlimit()
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        guard getrlimit(resource, &limit) == 0, limit.rlim_cur < limit.rlim_max else { return }
        limit.rlim_cur = limit.rlim_max
        setrlimit(resource, &limit)
    }

    /// Files this process may have open.
    static var descriptorLimit: Int {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return .max }
        return Int(clamping: limit.rlim_cur)
    }

    /// Nodes that `launch` starts ranks on, as far as Slurm or a host file tells; no more than there can be ranks.
    static var nodes: Int { min(max(1, namedNodes), LaunchCommand.mostRanks) }

    private static var namedNodes: Int {
        let environment = MPIEnvironment.currentEnvironment()
        if let text = environment["SLURM_JOB_NUM_NODES"] { return Int(text) ?? 1 }
        guard let file = environment["OMPI_MCA_orte_default_hostfile"] ?? environment["PRTE_MCA_prte_default_hostfile"],
            let bytes = try? InputFile.contents(of: file, limit: 1 << 20)
        else { return 1 }
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
        let hosts = lines.compactMap {
            $0.split(separator: "#", omittingEmptySubsequences: false).first?.split(separator: " ").first
        }
        return Set(hosts).count
    }

    /// Variables that ranks on other nodes need too: to those mpirun passes on what it is told, and its own.
    static var namesForRanks: [String] {
        let environment = MPIEnvironment.currentEnvironment()
        let names: Set = [
            attemptVariable, runVariable, runFolderVariable, stopCodeVariable, supervisorVariable, relayoutVariable,
            terminalVariable, "OMP_NUM_THREADS", "CK_ISA", "NO_COLOR",
        ]
        return environment.keys.filter { name in
            // The kernels that this process has chosen for itself, those ranks choose too.
            if name == "OPENBLAS_CORETYPE", environment[guardVariable] != nil { return false }
            return names.contains(name) || name.hasPrefix("OPENBLAS_")
        }.sorted()
    }

    /// Cores are divided among the ranks of this node.
    static func threadsPerRank(cores: Int, localRanks: Int) -> Int { max(1, cores / max(1, localRanks)) }

    /// An OpenBLAS older than the processor takes it for one it knows, and may miss its AVX-512: on a core of an AMD EPYC its
    /// Haswell kernels reach 130 GFLOPS, those for Skylake servers 250. Whatever has these instructions runs them.
    static func needsNewerKernels(core: String, hasAVX512: Bool) -> Bool {
        hasAVX512 && ["haswell", "zen", "generic", "prescott", "sandybridge"].contains(core.lowercased())
    }

    /// nil without a launcher.
    private static func localRanks(_ environment: [String: String]) -> Int? {
        if case .job(let ranks) = MPIEnvironment.launch(environment) { ranks ?? 1 } else { nil }
    }

    /// Returns only when the system refuses; then the program runs on as it is, only slower.
    private static func restart() {
        // The bytes that were given: texts made of them would hide that they are none.
        execv("/proc/self/exe", CommandLine.unsafeArgv)
    }
}

/// The environment gives this attempt a number that no attempt can have.
struct AttemptError: ReportableError {
    let value: String

    var exitCode: Support.ExitCode { .configuration }
    var description: String {
        "\(ProcessEnvironment.attemptVariable): \"\(value)\" is not the number of an attempt: unset it, since launch sets it"
            .singleLine
    }
}

/// The environment asks for kernels that do not run here.
struct KernelChoiceError: ReportableError {
    /// CK_ISA's value.
    let wanted: String

    var exitCode: Support.ExitCode { .configuration }

    var description: String {
        let best = ck_best_isa().rawValue
        let names = (0...best).map { String(cString: ck_isa_name(ck_isa(rawValue: $0))) }
        return "CK_ISA: \"\(wanted)\" is not an instruction set that this processor has kernels for: unset it, or use one of "
            + names.joined(separator: ", ")
    }
}
