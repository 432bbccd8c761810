internal import CMPI
internal import Glibc
package import Support

/// Whether and how this process belongs to an MPI job.
package enum MPIEnvironment {
    /// How this process was launched, by its environment.
    package enum Launch: Equatable, Sendable {
        /// Started by hand: a world of one, and MPI stays untouched (its start-up takes a second, and fails without a launcher
        /// on some clusters).
        case alone
        /// Started by mpirun, or by srun with a PMI; `localRanks` on this node where the launcher tells.
        case job(localRanks: Int?)
        /// Started by srun, which offers no PMI: every task would believe to be alone.
        case taskWithoutPMI(tasks: Int)
    }

    /// How this process was started, from the variables that mpirun, PMI and Slurm set.
    package static func launch(_ environment: [String: String]) -> Launch {
        let tasks = environment["SLURM_STEP_NUM_TASKS"].flatMap { Int($0) } ?? 1
        let hasPMI = ["OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"].contains { environment[$0] != nil }
        guard hasPMI else { return tasks > 1 ? .taskWithoutPMI(tasks: tasks) : .alone }
        let openMPI = environment["OMPI_COMM_WORLD_LOCAL_SIZE"].flatMap { Int($0) }
        return .job(localRanks: openMPI ?? slurmLocalRanks(environment))
    }

    /// The most tasks on one node, from Slurm's list such as `4(x2),3`.
    private static func slurmLocalRanks(_ environment: [String: String]) -> Int? {
        environment["SLURM_STEP_TASKS_PER_NODE"]?.split(separator: ",").compactMap { Int($0.prefix { $0.isNumber }) }.max()
    }

    /// Joins the job this process was started in: MPI's world under a launcher, else a world of one.
    ///
    /// Call it once, from the thread that will communicate, before other threads exist (it may set the environment).
    /// - Throws: ``MPIError``, or ``LaunchError`` where the launcher offers no PMI.
    package static func start(environment: [String: String] = currentEnvironment()) throws -> any Communicator {
        switch launch(environment) {
        case .alone: return LoopbackCommunicator()
        case .taskWithoutPMI(let tasks): throw LaunchError(tasks: tasks)
        case .job(let localRanks):
            // Without it a waiting rank keeps its core from the ranks it waits for: a small all-reduce with 8 ranks on 2
            // cores took 151 ms, with it 0.4 ms. A value the user has set stays.
            if let localRanks, localRanks > availableCores { setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0) }
            // Single copies are made by a call that containers often refuse; Open MPI would say so at every longer message.
            if cmpi_may_read_memory() == 0 { setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 0) }
            // Without single copies a message of 1 MiB goes in 32 pieces. All on their way at once, it arrives after two looks
            // of both sides at what there is to do, instead of eleven.
            setenv("OMPI_MCA_pml_ob1_send_pipeline_depth", "64", 0)
            // Sums in the background, in place: by default Open MPI 4.1 sends the whole buffer up a tree and down again, 2·log₂
            // n times. Rabenseifner's algorithm moves 2(n − 1)/n of it: with 8 ranks on 2 cores a step took 3 % less.
            if cmpi_sums_few_in_place() != 0 { setenv("OMPI_MCA_coll_libnbc_iallreduce_algorithm", "3", 0) }
            try MPIError.check("MPI_Init_thread", rank: 0, cmpi_init())
            return try MPICommunicator(cmpi_world())
        }
    }

    /// Leaves the job; every rank calls it at the end of a run that went well. Nothing to do in a world of one.
    package static func finish() throws(MPIError) {
        guard cmpi_is_running() != 0 else { return }
        try MPIError.check("MPI_Finalize", rank: 0, cmpi_finalize())
    }

    /// Cores this process may run on, or as many as its control groups give it time for: a thread more than that only waits.
    package static var availableCores: Int { availableCores(quota: ControlGroups().coreQuota) }

    /// - Parameter quota: cores' worth of time; nil: all there is.
    static func availableCores(quota: Double?) -> Int {
        let cores = Int(cmpi_available_cores())
        return quota.map { max(1, min(cores, Int(min($0, 1e6)))) } ?? cores
    }

    /// Cores for this rank's threads: its part of what the launcher of so many local ranks may use, and no more than it is
    /// bound to. All there are without a launcher.
    package static func coreShare(localRanks: Int?) -> Int {
        guard let localRanks else { return availableCores }
        let all = allowedCores(of: "\(getppid())")?.count ?? availableCores
        let quota = ControlGroups().coreQuota.map { Int(min($0, 1e6)) } ?? .max
        return max(1, min(availableCores, min(max(all, availableCores), quota) / max(1, localRanks)))
    }

    /// The cores that a process may run on; nil where the system does not tell.
    static func allowedCores(of process: String) -> Set<Int>? {
        let line = KernelFile.text("/proc/\(process)/status").split(separator: "\n").first {
            $0.hasPrefix("Cpus_allowed_list:")
        }
        return line.flatMap { coreList(String($0.dropFirst("Cpus_allowed_list:".count))) }
    }

    /// Of the form 0-3,8; nil for anything else.
    static func coreList(_ text: String) -> Set<Int>? {
        var cores: Set<Int> = []
        for part in text.filter({ !$0.isWhitespace }).split(separator: ",") {
            let bounds = part.split(separator: "-").map { Int(String($0)) }
            guard let first = bounds.first ?? nil, let last = bounds.last ?? nil, bounds.count < 3, first <= last,
                last < 1 << 20
            else { return nil }
            cores.formUnion(first...last)
        }
        return cores.isEmpty ? nil : cores
    }

    /// The variables of this process's environment, by name.
    package static func currentEnvironment() -> [String: String] {
        var result: [String: String] = [:]
        var entry = environ
        while let text = entry.pointee {
            let parts = String(cString: text).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2 { result[String(parts[0])] = String(parts[1]) }
            entry += 1
        }
        return result
    }
}

/// A launcher whose tasks cannot find each other.
package struct LaunchError: ReportableError, Equatable {
    let tasks: Int

    package var exitCode: ExitCode { .configuration }
    package var description: String {
        "srun started \(tasks) tasks that cannot find each other: use `srun --mpi=pmix` (or `--mpi=pmi2`), or mpirun"
    }
}
