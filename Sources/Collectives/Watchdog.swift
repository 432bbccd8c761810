internal import Glibc
internal import Synchronization
internal import TensorCore

/// Ends this process when a phase takes longer than it may: mpirun ends a job whose rank has died, but never notices one that
/// hangs (a stopped process, a dead network). The ranks that wait for it do, each by its own watchdog, and the exit of one
/// of them makes mpirun end all.
///
/// The thread sleeps between looks; a phase costs two atomic stores.
package final class Watchdog: Sendable {
    /// Monotonic nanoseconds at which the phase is over time; 0 when none runs.
    private let deadline = Atomic<UInt64>(0)
    private let isStopped = Atomic<Bool>(false)
    private let rank: Int
    private let phase = Mutex<(name: String, limit: Duration)>(("", .zero))

    /// Starts the thread, which lives until ``stop()``.
    package init(rank: Int) {
        self.rank = rank
        var thread = pthread_t()
        let context = Unmanaged.passRetained(self).toOpaque()
        let code = pthread_create(
            &thread, nil,
            { context in
                guard let context else { return nil }
                Unmanaged<Watchdog>.fromOpaque(context).takeRetainedValue().watch()
                return nil
            }, context)
        if code == 0 {
            pthread_detach(thread)
        } else {
            Unmanaged<Watchdog>.fromOpaque(context).release()
        }
    }

    /// Begins a phase (a step, a checkpoint) that must end within `limit`; replaces the one before.
    package func begin(_ name: String, limit: Duration) {
        phase.withLock { $0 = (name, limit) }
        deadline.store(Self.now() + UInt64(max(0, limit.nanoseconds)), ordering: .releasing)
    }

    /// Ends the phase.
    package func end() { deadline.store(0, ordering: .releasing) }

    /// Ends the thread.
    package func stop() { isStopped.store(true, ordering: .releasing) }

    private func watch() {
        while !isStopped.load(ordering: .acquiring) {
            let deadline = deadline.load(ordering: .acquiring)
            if deadline != 0, Self.now() > deadline { expire() }
            usleep(50_000)
        }
    }

    /// `_exit` and not `exit`: handlers at exit would call MPI, which may be what hangs.
    private func expire() -> Never {
        let (name, limit) = phase.withLock { $0 }
        let line =
            "rank \(rank): \(name) took longer than \(limit), so a rank hangs or is lost; the job ends, "
            + "restart it from the last checkpoint\n"
        _ = line.withCString { write(STDERR_FILENO, $0, strlen($0)) }
        _exit(ExitCode.temporary.rawValue)
    }

    private static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}

extension Duration {
    fileprivate var nanoseconds: Int64 { components.seconds * 1_000_000_000 + components.attoseconds / 1_000_000_000 }
}
