internal import CProcess
internal import Glibc
internal import TensorCore
internal import Training

/// Runs a command, and runs it again after failures that may not come back.
///
/// A restart counts as one in a row where nothing was saved since the one before. A run that hangs twice at the same place would hang there
/// again.
///
/// Signals are passed on to the command, which has a process group of its own; a run that was asked to stop is not started
/// again. The first SIGTERM arrives as SIGUSR1: mpirun passes that on to the ranks and waits, so that they can save themselves,
/// while after a SIGTERM of its own it leaves them a second. The next one arrives as it is. A supervisor that is killed takes the
/// command with it: nobody would be left to stop it.
struct Supervisor {
    let command: [String]
    let maxRestarts: Int
    /// Where the command saves itself.
    let runFolder: String

    /// A lost rank (137: killed, 134, 139: crashed), a time limit (75), a lost connection (110), and what mpirun says of a node
    /// that is gone (1). Other codes would come back: wrong input, a full disk, a configuration that does not fit.
    static let temporaryCodes: Set<Int32> = [1, 75, 110, 134, 137, 139]

    private static let forwarded = [SIGTERM, SIGINT, SIGHUP, SIGUSR1]

    /// Seconds before a restart: 1, 2, 4, and 4 from there on.
    static func backOff(restart: Int) -> Int { 1 << min(restart, 2) }

    /// The exit code of the last run.
    func run() throws(LaunchFailure) -> Int32 {
        // Signals wait until they are asked for, so that no handler is needed.
        var signals = sigset_t()
        sigemptyset(&signals)
        for signal in Self.forwarded + [SIGCHLD] { sigaddset(&signals, signal) }
        var original = sigset_t()
        pthread_sigmask(SIG_BLOCK, &signals, &original)
        defer { pthread_sigmask(SIG_SETMASK, &original, nil) }
        // Whoever started this process may have blocked them; the command is to get what it is sent.
        var signalMask = original
        for signal in Self.forwarded { sigdelset(&signalMask, signal) }

        var (attempt, restarts) = (1, 0)
        var saved = newestCheckpoint
        var hung: RunFolder.Place?
        while true {
            setenv(ProcessEnvironment.attemptVariable, String(attempt), 1)
            let (code, wasStopped) = wait(for: try start(signalMask: signalMask), signals)
            let newest = newestCheckpoint
            if newest != saved { (restarts, saved) = (0, newest) }
            guard !wasStopped, Self.temporaryCodes.contains(code), restarts < maxRestarts else { return code }
            let place = code == ExitCode.temporary.rawValue ? RunFolder.place(runFolder) : nil
            if let place, place == hung {
                Console.complain("exit code \(code) twice at the same place (\(place)), so it is not tried again")
                return code
            }
            hung = place
            let pause = Self.backOff(restart: restarts)
            (attempt, restarts) = (attempt + 1, restarts + 1)
            Console.complain("exit code \(code); restart \(restarts) of \(maxRestarts) in \(pause) s")
            if isStopped(within: pause, signals) { return code }
        }
    }

    /// What `LATEST` names.
    private var newestCheckpoint: String? { RunFolder.newestCheckpoint(runFolder) }

    private func start(signalMask: sigset_t) throws(LaunchFailure) -> pid_t {
        var arguments: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        var (process, mask) = (pid_t(), signalMask)
        let code = cprocess_start(&arguments, &mask, &process)
        guard code == 0 else { throw LaunchFailure(program: command[0], code: code) }
        return process
    }

    /// Passes signals on until the process has ended.
    private func wait(for process: pid_t, _ signals: sigset_t) -> (code: Int32, wasStopped: Bool) {
        var signals = signals
        var wasStopped = false
        var wasAsked = false
        while true {
            var status: Int32 = 0
            if waitpid(process, &status, WNOHANG) == process { return (Self.exitCode(status), wasStopped) }
            var signal: Int32 = 0
            guard sigwait(&signals, &signal) == 0, signal != SIGCHLD else { continue }
            if signal != SIGUSR1 { wasStopped = true }
            kill(process, signal == SIGTERM && !wasAsked ? SIGUSR1 : signal)
            wasAsked = wasAsked || signal == SIGTERM
        }
    }

    /// Waits, unless a signal asks to stop.
    private func isStopped(within seconds: Int, _ signals: sigset_t) -> Bool {
        var signals = signals
        var pause = timespec(tv_sec: seconds, tv_nsec: 0)
        sigdelset(&signals, SIGCHLD)
        sigdelset(&signals, SIGUSR1)
        return sigtimedwait(&signals, nil, &pause) > 0
    }

    /// A shell's view of a wait status.
    private static func exitCode(_ status: Int32) -> Int32 {
        let signal = status & 0x7F
        return signal == 0 ? (status >> 8) & 0xFF : 128 + signal
    }
}
