internal import Collectives
internal import Glibc
internal import Synchronization

/// Whether this run has been asked to stop: by SIGTERM, or by SIGUSR1, which Slurm sends a while before the time is up
/// (`--signal=USR1@120`).
enum StopRequest {
    private static let isRaised = Atomic<Bool>(false)

    /// From here on the signals only ask; before, SIGTERM ends the process as always.
    static func listen() {
        var asked = sigset_t()
        sigemptyset(&asked)
        for number in [SIGTERM, SIGUSR1] {
            signal(number) { _ in StopRequest.isRaised.store(true, ordering: .relaxed) }
            sigaddset(&asked, number)
        }
        // Whoever started this process may have had them blocked, and that is inherited.
        pthread_sigmask(SIG_UNBLOCK, &asked, nil)
    }

    /// Whether any rank has been asked. Collective, so that all stop after the same step.
    static func isRaised(on world: some Communicator) throws -> Bool {
        let own: Int64 = isRaised.load(ordering: .relaxed) ? 1 : 0
        return try world.size == 1 ? own == 1 : world.allReduce(own, .max) == 1
    }
}

/// Thrown by all ranks alike when a run stops because it was asked to; not a failure.
package struct RunStopped: Error {
    let step: Int
    let checkpoint: String

    package var description: String {
        "stopped as asked after step \(step); \(checkpoint) has its state, and the same command with the same --out goes on there"
    }
}
