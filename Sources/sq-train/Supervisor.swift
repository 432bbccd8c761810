internal import CProcess
internal import Collectives
internal import Glibc
internal import Runs
internal import Support

/// Runs a command, and runs it again after failures that may not come back.
///
/// A restart counts as one in a row where nothing was saved since the one before. A run that hangs twice at the same place
/// would hang there again.
///
/// The command has a process group of its own, and gets no signal but from here. The first SIGINT, SIGTERM, SIGHUP or SIGUSR1
/// arrives as SIGUSR1, whichever it was: mpirun passes that on to the ranks and waits, so that they can save the run, while
/// after any of the others it leaves them a second. They end with one of ``stopCodes``, and this process with the code of the
/// signal it got, or else of the one that a rank got. The second signal kills the ranks. A run that was asked to stop is not
/// started again. A supervisor that is killed takes the command with it: nobody would be left to stop it. A command that
/// outlives its run (mpirun, which waits for a host that it has lost) is killed, and the run has ended as by a time limit.
struct Supervisor {
    /// Of an attempt, from 1; asked once for each, since it may look at the machine and change the environment.
    let command: (_ attempt: Int) -> [String]
    let maxRestarts: Int
    /// Where the command saves itself; nil where nobody knows before it has begun.
    let runFolder: String?
    /// Whether the command gets this process's standard input.
    let readsInput: Bool
    /// Exit codes that are the command's answer.
    let answers: Set<Int32>

    /// A lost rank (137: killed, 134, 139: crashed), a time limit (75), a lost connection (110), and what mpirun says of a node
    /// that is gone (1; 205 where it has lost its own daemon there). Other codes would come back: wrong input, a full disk, a
    /// configuration that does not fit.
    static let temporaryCodes: Set<Int32> = [1, 75, 110, 134, 137, 139, 205]
    /// What mpirun says where it cannot start anything on a host. That may not come back where it could before.
    private static let unreachableCode: Int32 = 255
    /// These codes, for people.
    static var restartedCodes: String {
        "\(temporaryCodes.sorted().map(String.init).joined(separator: ", ")), after a restart also \(unreachableCode)"
    }
    /// The exit codes of ranks that have stopped on request, one for each signal; no error has them.
    static let stopCodes = StopRequest.agreedCodes(from: stopCode)
    /// The first of them.
    static let stopCode: Int32 = 80

    /// Seconds before a restart: 1, 2, 4, and 4 from there on.
    static func backOff(restart: Int) -> Int { 1 << min(restart, 2) }

    /// How a run of the command ended.
    private struct End {
        var code: Int32
        /// What it was asked to stop by.
        var asked: Int32?
        /// What it was killed for.
        var forced: Int32?
        /// Whether it was killed since its run was over and it was not.
        var isAbandoned = false
    }

    /// The exit code of the last run.
    ///
    /// - Throws: ``LaunchFailure``; `FolderInUse`, where another supervisor has the run's folder.
    func run() throws -> Int32 {
        var (attempt, restarts) = (1, 0)
        var lock = try claim()
        var saved = runFolder.map(RunFolder.saved)
        var hung: RunFolder.Place?
        var watch = LauncherWatch()
        if let signal = StopRequest.signal { return stopped(by: signal) }
        while true {
            setenv(ProcessEnvironment.attemptVariable, String(attempt), 1)
            if lock == nil { lock = try claim() }
            let command = command(attempt)
            let end = wait(for: try start(command), &lock, &watch)
            let newest = runFolder.map(RunFolder.saved)
            if newest != saved { (restarts, saved) = (0, newest) }
            if let signal = end.asked { return exitCode(end, signal) }
            // A rank was told to stop by somebody else.
            if let signal = Self.stopCodes[end.code] { return StopRequest.exitCode(of: signal) }
            let isTemporary = Self.temporaryCodes.subtracting(answers).contains(end.code)
            guard isTemporary || attempt > 1 && end.code == Self.unreachableCode, restarts < maxRestarts else {
                if end.code == 1, !answers.contains(1) { sayHowToAsk(command) }
                if end.code == Self.unreachableCode {
                    Console.printError(
                        "mpirun cannot start ranks on all hosts (exit code \(end.code)): check that each host answers and has "
                            + "sq-train; the same command then resumes from what was saved")
                }
                return end.code
            }
            let place = end.code == ExitCode.temporary.rawValue ? runFolder.map(RunFolder.place) : nil
            if let place, place == hung {
                Console.printError("exit code \(end.code) twice at the same place (\(place)): the run is not restarted again")
                return end.code
            }
            hung = place
            let pause = Self.backOff(restart: restarts)
            (attempt, restarts, watch) = (attempt + 1, restarts + 1, LauncherWatch(after: watch))
            Console.printError("exit code \(end.code); restart \(restarts) of \(maxRestarts) in \(pause) s")
            if let signal = signal(within: .seconds(pause)) { return stopped(by: signal) }
        }
    }

    /// The code of a run that was asked to stop.
    private func exitCode(_ end: End, _ signal: Int32) -> Int32 {
        if let forced = end.forced { return 128 + forced }
        if end.isAbandoned { return stopped(by: signal) }
        if Self.stopCodes[end.code] != nil { return StopRequest.exitCode(of: signal) }
        switch end.code {
        // Nobody had listened yet: the program was still being loaded, or mpirun lost the pipe to a rank it had just started.
        case 128 + SIGUSR1, 128 + SIGPIPE: return stopped(by: signal)
        // mpirun itself, of which a signal at the wrong moment is too much.
        case 1, 128...: return signal == SIGUSR1 ? end.code : 128 + signal
        // It had ended, or had an error of its own.
        default: return end.code
        }
    }

    /// With -q mpirun prints nothing, not even the reason why it cannot start.
    private func sayHowToAsk(_ command: [String]) {
        var words = command.map(\.shellWord)
        // Its own comes first; the ranks may have one, too.
        if let quiet = words.firstIndex(of: "-q") { words.remove(at: quiet) }
        Console.printError(
            "mpirun ended with exit code 1 and, because of -q, gives no reason; to see the reason, run "
                + words.joined(separator: " ").singleLine)
    }

    /// The exit code where no rank runs that could report what has been saved.
    private func stopped(by signal: Int32) -> Int32 {
        let advice = runFolder.map { RunFolder.stopAdvice($0) }
        Console.printOutput((advice ?? "stopped on request; the run folder, if there is one, tells what was saved") + "\n")
        return StopRequest.exitCode(of: signal)
    }

    private func claim() throws(FolderInUse) -> SupervisorLock? {
        guard let runFolder else { return nil }
        return try SupervisorLock(runFolder, supervisor: ProcessIdentity.own.text)
    }

    private func start(_ command: [String]) throws(LaunchFailure) -> pid_t {
        var arguments: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        // Whoever started this process may have blocked signals; the command is to get what it is sent.
        var (process, mask) = (pid_t(), sigset_t())
        pthread_sigmask(SIG_BLOCK, nil, &mask)
        for signal in StopRequest.signals { sigdelset(&mask, signal) }
        let code = cprocess_start(&arguments, &mask, readsInput ? 1 : 0, &process)
        guard code == 0 else { throw LaunchFailure(program: command[0], code: code) }
        return process
    }

    /// Passes signals on until the process has ended. As soon as the run has begun in its folder, `lock` keeps it for this
    /// supervisor; where two have begun there at once, the ranks say whose it is.
    private func wait(for process: pid_t, _ lock: inout SupervisorLock?, _ watch: inout LauncherWatch) -> End {
        var end = End(code: 0)
        let started = ContinuousClock.now
        // The first look is at once: who has the folder then has it from before.
        var (asked, told, forced, looked) = (started, started, started, started - .seconds(1))
        while true {
            var status: Int32 = 0
            if waitpid(process, &status, WNOHANG) == process {
                end.code = Self.exitCode(status)
                // It may have ended by itself in the last moment.
                end.isAbandoned = end.isAbandoned && end.code == 128 + SIGKILL
                if end.isAbandoned { end.code = ExitCode.temporary.rawValue }
                return end
            }
            if lock == nil { lock = try? claim() }
            let now = ContinuousClock.now
            if now - looked >= .seconds(1), !end.isAbandoned {
                let ranks = ChildProcesses.of(process).filter(ChildProcesses.runsThisProgram)
                // mpirun stays, too, where it has output that nobody reads yet.
                let elapsed = Console.isStalled ? .zero : now - looked
                let verdict = watch.note(
                    hasRanks: !ranks.isEmpty, folderIsHeld: runFolder.map(RunFolder.isInUse) ?? false, elapsed: elapsed)
                if let verdict { abandon(process, verdict) }
                end.isAbandoned = verdict != nil
                looked = now
            }
            if let signal = SignalPipe.next(milliseconds: 20), StopRequest.signals.contains(signal) {
                if end.asked == nil {
                    (end.asked, asked, told) = (signal, now, now)
                    kill(process, SIGUSR1)
                } else if now - asked > .seconds(StopRequest.repetition) {
                    (end.forced, forced) = (signal, now)
                    killRanks(of: process)
                }
            } else if end.forced != nil, now - forced > .seconds(3) {
                kill(process, SIGKILL)
            } else if end.asked != nil, end.forced == nil, asked - started < .seconds(5), now - asked < .seconds(8),
                now - told > .seconds(1)
            {
                // mpirun may have had no ranks yet to pass it on to.
                told = now
                kill(process, SIGUSR1)
            }
        }
    }

    /// Ends the ranks on this machine, and with them, by mpirun, the others; mpirun itself where it has none yet.
    private func killRanks(of mpirun: pid_t) {
        let children = ChildProcesses.of(mpirun)
        for process in children.isEmpty ? [mpirun] : children { kill(process, SIGKILL) }
    }

    /// Ends mpirun and what it reaches other hosts by; daemons on hosts that are not lost notice that, and end with their
    /// ranks.
    private func abandon(_ mpirun: pid_t, _ verdict: LauncherWatch.Verdict) {
        switch verdict {
        case .outlivesRun:
            Console.printError(
                "the run has ended, but not mpirun, \(LauncherWatch.exitTimeout.components.seconds) s later: it waits for a "
                    + "host that no longer answers, and is killed")
        case .startsNothing(let limit):
            Console.printError(
                "mpirun has started no rank here for \(limit.components.seconds) s: it waits for a host that does not answer, "
                    + "and is killed")
        }
        // It comes first: if those that it waits for ended before it, it could end by itself, as if nothing had failed.
        for process in [mpirun] + ChildProcesses.of(mpirun) { kill(process, SIGKILL) }
    }

    /// Waits, unless a signal asks to stop.
    private func signal(within pause: Duration) -> Int32? {
        let end = ContinuousClock.now + pause
        while .now < end {
            if let signal = SignalPipe.next(milliseconds: 20), StopRequest.signals.contains(signal) { return signal }
        }
        return nil
    }

    /// A shell's view of a wait status.
    private static func exitCode(_ status: Int32) -> Int32 {
        let signal = status & 0x7F
        return signal == 0 ? (status >> 8) & 0xFF : 128 + signal
    }
}
