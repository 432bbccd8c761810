internal import Glibc
internal import Support
internal import Synchronization

/// Ends this process when it, or a rank it depends on, gets nothing done for longer than it may: mpirun ends a job whose rank
/// has died, but never notices one that hangs (a stopped process, a dead network). The exit of one rank makes mpirun end all.
///
/// Its thread looks every 50 ms at `WorkProgress`, and asks other ranks' watchdogs how they do: see `Silence`. So ranks
/// that compute for long are never taken for lost, and a rank that is stopped is, since its watchdog is stopped too.
package final class Watchdog: Sendable {
    private struct State {
        /// A phase (a step, a checkpoint) in which this rank itself must get on, and how long it may get nothing done.
        var phase: (name: String, limit: Duration)?
        /// The call that waits for other ranks.
        var wait: String?
    }

    private let rank: Int
    private let heartbeat: Heartbeat?
    /// How long other ranks may get nothing done.
    private let timeout: Duration
    private let isStopped = Atomic<Bool>(false)
    private let state = Mutex(State())

    private static let tick: UInt32 = 50_000
    private static let second: UInt64 = 1_000_000_000

    /// Starts the thread, which lives until ``stop()``.
    package convenience init(rank: Int) { self.init(rank: rank, nil, timeout: .zero) }

    init(rank: Int, _ heartbeat: Heartbeat?, timeout: Duration) {
        (self.rank, self.heartbeat, self.timeout) = (rank, heartbeat, timeout)
        if let thread = try? SystemThread.start({ self.watch() }) { pthread_detach(thread) } else { stop() }
    }

    /// Whether the thread is there, which the system may have refused.
    var isWatching: Bool { !isStopped.load(ordering: .acquiring) }

    /// Begins a phase in which something must get done every `limit`; replaces the one before.
    package func begin(_ name: String, limit: Duration) {
        WorkProgress.note()
        state.withLock { $0.phase = (name, limit) }
    }

    /// Ends the phase.
    package func end() { state.withLock { $0.phase = nil } }

    /// Ends the thread.
    package func stop() { isStopped.store(true, ordering: .releasing) }

    /// Does what may wait for other ranks: they are looked after meanwhile. The time is theirs.
    package func waiting<Result, Failure: Error>(in operation: String, _ body: () throws(Failure) -> Result) throws(Failure)
        -> Result
    {
        let outer = state.withLock { state in
            defer { state.wait = operation }
            return state.wait
        }
        defer {
            WorkProgress.note()
            state.withLock { $0.wait = outer }
        }
        return try body()
    }

    private func watch() {
        var (count, last, before) = (WorkProgress.count, Trace.now(), Trace.now())
        var silence = Silence(rank: rank, size: heartbeat?.size ?? 1, now: last)
        var nextQuestion = last
        var ending: UInt64?
        while !isStopped.load(ordering: .acquiring) {
            usleep(Self.tick)
            let now = Trace.now()
            let current = state.withLock { $0 }
            // Stopped itself, or starved: the others' silence may be this rank's deafness.
            if now - before > Self.second {
                silence.forgive(now - before)
                last += now - before
            }
            before = now
            if WorkProgress.count != count { (count, last) = (WorkProgress.count, now) }
            let idle = now - min(now, last)
            heartbeat?.receive(answering: .init(kind: .report, rank: rank, isWaiting: current.wait != nil, idle: idle)) {
                message in
                if message.kind == .ending {
                    ending = ending ?? now
                } else {
                    silence.note(.init(isWaiting: message.isWaiting, idle: message.idle), from: message.rank, now: now)
                }
            }
            // Another rank has said why, and mpirun ends all.
            if let ending {
                if now > ending + 3 * Self.second { _exit(ExitCode.temporary.rawValue) }
                continue
            }
            silence.setWaiting(current.wait != nil, now: now)
            if let phase = current.phase, current.wait == nil, idle > phase.limit.unsignedNanoseconds {
                expire(.idle(rank: rank, seconds: Double(idle) * 1e-9), current)
            }
            guard let heartbeat else { continue }
            let limit = max(timeout, current.phase?.limit ?? .zero).unsignedNanoseconds
            if let verdict = silence.verdict(limit: limit, idle: idle, now: now) { expire(verdict, current) }
            if now >= nextQuestion {
                nextQuestion = now + min(max(limit / 16, Self.second / 10), 2 * Self.second)
                for peer in silence.watched { heartbeat.send(.init(kind: .question, rank: rank), to: peer) }
            }
        }
    }

    /// `_exit` and not `exit`: handlers at exit would call MPI, which may be what hangs.
    private func expire(_ verdict: Silence.Verdict, _ state: State) -> Never {
        if let heartbeat {
            for peer in 0..<heartbeat.size where peer != rank { heartbeat.send(.init(kind: .ending, rank: rank), to: peer) }
        }
        let line = Self.line(verdict, rank: rank, phase: state.phase?.name, wait: state.wait) + "\n"
        _ = line.withCString { write(STDERR_FILENO, $0, strlen($0)) }
        _exit(ExitCode.temporary.rawValue)
    }

    static func line(_ verdict: Silence.Verdict, rank: Int, phase: String?, wait: String?) -> String {
        func rounded(_ seconds: Double) -> Double { (seconds * 10).rounded() / 10 }
        let place = phase.map { " in \($0)" } ?? ""
        let waiting = wait.map { ", and rank \(rank) waits in \($0)" } ?? ""
        let what =
            switch verdict {
            case .unanswered(let peer, let seconds, let hasAnswered):
                "rank \(peer) has made no progress for \(rounded(seconds)) s\(place): it does not answer (stopped, or its "
                    + "machine or network is lost"
                    + (hasAnswered ? "" : "; it never has: check that UDP can pass between the nodes") + ")\(waiting)"
            case .idle(let peer, let seconds):
                "rank \(peer) has made no progress for \(rounded(seconds)) s\(place)\(peer == rank ? "" : waiting)"
            case .deadlock(let seconds):
                "no rank has made progress for \(rounded(seconds)) s\(place): all wait for each other\(waiting)"
            }
        return "sq-train: error: \(what); the job ends (watchdog.step), and the same command resumes from what was saved"
    }
}

extension Duration {
    /// 0 where it is negative.
    fileprivate var unsignedNanoseconds: UInt64 {
        UInt64(max(0, components.seconds)) * 1_000_000_000 + UInt64(max(0, components.attoseconds / 1_000_000_000))
    }
}
