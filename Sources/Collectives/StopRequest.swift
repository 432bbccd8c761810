internal import Glibc
internal import Support
internal import Synchronization

/// Thrown where a run ends because it was asked to; not a failure.
package struct StopRequested: Error, Equatable {
    /// SIGINT, SIGTERM, SIGHUP, SIGUSR1 or SIGPIPE.
    package let signal: Int32

    package init(signal: Int32) { self.signal = signal }
}

/// Whether this run has been asked to stop: by Ctrl-C, SIGTERM, SIGHUP, SIGUSR1 (which Slurm sends a while before the time is
/// up: `--signal=USR1@120`), or by nobody reading its output any more.
///
/// **The first request is answered where it fits.** Long work asks ``check()`` or ``check(on:)`` now and then and ends by
/// throwing ``StopRequested``; steps run ``shielded(_:)`` to their checkpoint. Where nobody asks (a long call of a library, a
/// wait for a rank that does not answer), a thread ends the process after a while: outside of shielded work everything worth
/// keeping is on the disk already, in whole files. **The second request ends the process at once.**
///
/// Ranks on one machine tell each other, so that it does not matter to which of them the signal was sent.
package enum StopRequest {
    /// Two requests within this time, in seconds, are one: `timeout` and closing terminals send their signal twice.
    package static let repetition = 0.3
    /// Seconds that mpirun has to end the ranks after their supervisor has ended.
    private static let orphanTimeout = 5.0

    package static let signals = [SIGINT, SIGTERM, SIGHUP, SIGUSR1]
    private static let requested = Atomic<Int32>(0)
    private static let shields = Atomic<Int>(0)
    private static let state = Mutex(State())

    private struct State {
        /// The first of the exit codes after an answered request, in place of the usual ones, for a supervisor that repeats
        /// SIGUSR1 until it is heard.
        var agreedCode: Int32?
        var advice: @Sendable () -> String = { "stopped on request; nothing had been written yet" }
        /// Whether this rank writes ``advice``.
        var speaks = true
        /// Seconds from a request to the end of the process, where nothing answers.
        var timeout = 1.0
        /// Other ranks on this machine.
        var peers: [pid_t] = []
        /// When shielded work has ended last.
        var unshielded = ContinuousClock.now
        var stopsWithoutReader = false
        /// Whether standard output is read, as far as this process knows.
        var hasReader = true
        var thread: pthread_t?
        /// Without it this process is to end.
        var supervisor: ProcessIdentity?
    }

    // MARK: Asking

    /// The signal this rank was asked by; nil where it was not asked.
    package static var signal: Int32? {
        let signal = requested.load(ordering: .acquiring)
        return signal == 0 ? nil : signal
    }

    /// - Throws: ``StopRequested`` where this rank has been asked, except in shielded work.
    package static func check() throws(StopRequested) {
        if let signal, shields.load(ordering: .relaxed) == 0 { throw StopRequested(signal: signal) }
    }

    /// The signal any rank was asked by, the same on all. Collective.
    package static func agreed(on world: some Communicator) throws(MPIError) -> Int32? {
        let own = Int64(requested.load(ordering: .acquiring))
        let signal = Int32(world.size == 1 ? own : try world.allReduce(own, .max))
        return signal == 0 ? nil : signal
    }

    /// - Throws: ``StopRequested`` on all ranks where any has been asked, except in shielded work. Collective.
    package static func check(on world: some Communicator) throws {
        if let signal = try agreed(on: world), shields.load(ordering: .relaxed) == 0 { throw StopRequested(signal: signal) }
    }

    /// Does work that is not to be left half done; requests wait for its end.
    package static func shielded<Result>(_ work: () throws -> Result) rethrows -> Result {
        shields.add(1, ordering: .relaxed)
        defer {
            state.withLock { $0.unshielded = .now }
            shields.subtract(1, ordering: .releasing)
        }
        return try work()
    }

    // MARK: Answering

    /// What a process ends with that was asked to stop: 0 after SIGUSR1, else 128 + the signal's number.
    package static func exitCode(of signal: Int32) -> Int32 { signal == SIGUSR1 ? 0 : 128 + signal }

    /// The same for this process, whose supervisor may want another code.
    package static func ownExitCode(of signal: Int32) -> Int32 {
        let own = state.withLock { $0.agreedCode }.flatMap { first in
            agreedCodes(from: first).first { $0.value == signal }?.key
        }
        return own ?? exitCode(of: signal)
    }

    /// The codes that a supervisor is told of a request by, with the signals they stand for.
    package static func agreedCodes(from first: Int32) -> [Int32: Int32] {
        Dictionary(uniqueKeysWithValues: zip(first..., signals + [SIGPIPE]))
    }

    /// Sets the line that says where the run's state is and how to resume; it is made when it is needed, on any thread.
    package static func setAdvice(_ advice: @escaping @Sendable () -> String) { state.withLock { $0.advice = advice } }

    /// Tells the user; on rank 0 of the run only. Where nobody reads standard output any more, on standard error.
    package static func sayAdvice() {
        let (speaks, advice) = state.withLock { ($0.speaks, $0.advice) }
        guard speaks else { return }
        let line = Array((advice() + "\n").utf8)
        _ = write(signal == SIGPIPE ? STDERR_FILENO : STDOUT_FILENO, line, line.count)
    }

    // MARK: Listening

    /// From here on signals ask. Call it first of all, on the thread that will communicate.
    ///
    /// - Parameters:
    ///   - agreedCode: the first of the exit codes a supervisor wants after an answered request, see ``agreedCodes(from:)``. It
    ///     may repeat SIGUSR1.
    ///   - supervisor: where it ends, this process ends too, a few seconds later: nobody else would end it if whoever started
    ///     it (mpirun) has gone with the supervisor.
    package static func listen(agreedCode: Int32? = nil, supervisor: ProcessIdentity? = nil) {
        SignalPipe.block(signals + peerSignals)
        state.withLock { ($0.agreedCode, $0.supervisor) = (agreedCode, supervisor) }
        guard SignalPipe.open(signals + peerSignals, optional: [SIGHUP]) else {
            return SignalPipe.unblock(signals + peerSignals)
        }
        if !SignalPipe.isIgnored(SIGPIPE) {
            Glibc.signal(SIGPIPE, SIG_IGN)
            state.withLock { $0.stopsWithoutReader = true }
        }
        let thread = try? SystemThread.start { StopRequest.watch() }
        state.withLock { $0.thread = thread }
        if thread == nil { release() }
    }

    /// Ends the thread: the calling one takes the signals, and reads them from the ``SignalPipe``. One may have come already:
    /// see ``signal``.
    package static func handOver() {
        SignalPipe.post(releaseMark)
        if let thread = state.withLock({ $0.thread }) { pthread_join(thread, nil) }
        SignalPipe.unblock(signals + peerSignals)
        if state.withLock({ $0.stopsWithoutReader }) { Glibc.signal(SIGPIPE, SIG_DFL) }
    }

    /// Signals have their usual effect again, for a command that has its own way with them.
    package static func release() {
        handOver()
        SignalPipe.close(signals + peerSignals)
    }

    /// Nobody reads standard output any more. Every further line that nobody reads says so again, which is no second request:
    /// that would end the process before it has saved anything.
    package static func readerHasLeft() {
        let isNews = state.withLock { state in
            defer { state.hasReader = false }
            return state.stopsWithoutReader && state.hasReader
        }
        if isNews { SignalPipe.post(SIGPIPE) }
    }

    /// The ranks get to know each other. Collective.
    ///
    /// - Parameter timeout: see `State/timeout`; rank 0's, which speaks for all, ends first.
    package static func introduce(to world: some Communicator, timeout: Double = 5) throws(MPIError) {
        guard world.size > 1 else { return }
        let own = ProcessIdentity.currentMachine
        let processes = try world.allGather(Array("\(own) \(getpid())".utf8)).enumerated().compactMap { rank, bytes -> pid_t? in
            let parts = String(decoding: bytes, as: UTF8.self).split(separator: " ")
            return rank != world.rank && parts.count == 2 && parts[0] == own ? pid_t(parts[1]) : nil
        }
        state.withLock {
            $0.peers = processes
            $0.speaks = world.isRoot
            $0.timeout = timeout + (world.isRoot ? 0 : 1)
        }
        // One of before, when the others were not known.
        if let signal { tellPeers(signal) }
    }

    /// One for each of ``signals``: from a rank that was asked by it.
    private static var peerSignals: [Int32] { signals.indices.map { __libc_current_sigrtmin() + 4 + Int32($0) } }
    private static let releaseMark: Int32 = 0

    private static func tellPeers(_ signal: Int32) {
        guard let place = signals.firstIndex(of: signal) else { return }
        for peer in state.withLock({ $0.peers }) { kill(peer, peerSignals[place]) }
    }

    /// The thread.
    private static func watch() {
        SignalPipe.unblock(signals + peerSignals)
        let supervisor = state.withLock { $0.supervisor }
        var (first, orphaned): (ContinuousClock.Instant?, ContinuousClock.Instant?)
        while true {
            let number = SignalPipe.next(milliseconds: first != nil ? 50 : supervisor == nil ? -1 : 1000)
            if number == releaseMark { return }
            // What cannot be read once, as where no file can be opened, says nothing.
            orphaned = supervisor?.hasEnded == true ? orphaned ?? .now : nil
            if let orphaned, .now - orphaned > .seconds(orphanTimeout) { endOrphaned() }
            if let number, let asked = first {
                if peerSignals.contains(number) || .now - asked < .seconds(repetition) { continue }
                if number == SIGUSR1, state.withLock({ $0.agreedCode != nil }) { continue }
                _exit(128 + number)
            } else if let number {
                first = .now
                let place = peerSignals.firstIndex(of: number)
                let signal = place.map { signals[$0] } ?? number
                requested.store(signal, ordering: .releasing)
                if place == nil { tellPeers(signal) }
            } else if let first, shields.load(ordering: .acquiring) == 0 {
                let (timeout, unshielded) = state.withLock { ($0.timeout, $0.unshielded) }
                if .now - max(first, unshielded) > .seconds(timeout) { expire() }
            }
        }
    }

    /// mpirun, which gets SIGTERM when its supervisor ends, has not answered.
    private static func endOrphaned() -> Never {
        ProcessIdentity.killLauncher()
        _exit(128 + SIGTERM)
    }

    /// `_exit` and not `exit`: handlers at exit would call MPI, which may be what waits.
    private static func expire() -> Never {
        sayAdvice()
        _exit(ownExitCode(of: requested.load(ordering: .acquiring)))
    }
}
