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
/// after any of the others it leaves them a second. They end with ``stopCode``, and this process with the code of the signal it
/// got. The second signal kills the ranks. A run that was asked to stop is not started again. A supervisor that is killed takes
/// the command with it: nobody would be left to stop it.
struct Supervisor {
    /// Of an attempt, from 1.
    let command: (_ attempt: Int) -> [String]
    let maxRestarts: Int
    /// Where the command saves itself.
    let runFolder: String
    /// Exit codes that are the command's answer.
    let answers: Set<Int32>

    /// A lost rank (137: killed, 134, 139: crashed), a time limit (75), a lost connection (110), and what mpirun says of a node
    /// that is gone (1; 205 where it has lost its own daemon there). Other codes would come back: wrong input, a full disk, a
    /// configuration that does not fit.
    static let temporaryCodes: Set<Int32> = [1, 75, 110, 134, 137, 139, 205]
    /// The exit code of ranks that have stopped on request; no error has it.
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
    }

    /// The exit code of the last run.
    ///
    /// - Throws: ``LaunchFailure``; ``FolderInUse``, where another supervisor has the run's folder.
    func run() throws -> Int32 {
        var (attempt, restarts) = (1, 0)
        var lock = try claim()
        var saved = newestCheckpoint
        var hung: RunFolder.Place?
        if let signal = StopRequest.signal { return stopped(by: signal) }
        while true {
            setenv(ProcessEnvironment.attemptVariable, String(attempt), 1)
            if lock == nil { lock = try claim() }
            let end = wait(for: try start(command(attempt)), &lock)
            let newest = newestCheckpoint
            if newest != saved { (restarts, saved) = (0, newest) }
            if let signal = end.asked { return exitCode(end, signal) }
            // A rank was told to stop by somebody else.
            if end.code == Self.stopCode { return 0 }
            guard Self.temporaryCodes.subtracting(answers).contains(end.code), restarts < maxRestarts else { return end.code }
            let place = end.code == ExitCode.temporary.rawValue ? RunFolder.place(runFolder) : nil
            if let place, place == hung {
                Console.complain("exit code \(end.code) twice at the same place (\(place)), so it is not tried again")
                return end.code
            }
            hung = place
            let pause = Self.backOff(restart: restarts)
            (attempt, restarts) = (attempt + 1, restarts + 1)
            Console.complain("exit code \(end.code); restart \(restarts) of \(maxRestarts) in \(pause) s")
            if let signal = signal(within: .seconds(pause)) { return stopped(by: signal) }
        }
    }

    /// The code of a run that was asked to stop.
    private func exitCode(_ end: End, _ signal: Int32) -> Int32 {
        if let forced = end.forced { return 128 + forced }
        switch end.code {
        case Self.stopCode: return StopRequest.exitCode(of: signal)
        // Nobody had listened yet: the program was still being loaded, or mpirun lost the pipe to a rank it had just started.
        case 128 + SIGUSR1, 128 + SIGPIPE: return stopped(by: signal)
        // mpirun itself, of which a signal at the wrong moment is too much.
        case 1, 128...: return signal == SIGUSR1 ? end.code : 128 + signal
        // It had come to its end, or had an error of its own.
        default: return end.code
        }
    }

    /// The code where no rank is there to say what has been saved.
    private func stopped(by signal: Int32) -> Int32 {
        Console.say(RunFolder.stopAdvice(runFolder) + "\n")
        return StopRequest.exitCode(of: signal)
    }

    /// What `LATEST` names.
    private var newestCheckpoint: String? { RunFolder.newestCheckpoint(runFolder) }

    private func claim() throws(FolderInUse) -> SupervisorLock? {
        try SupervisorLock(runFolder, supervisor: ProcessIdentity.own.text)
    }

    private func start(_ command: [String]) throws(LaunchFailure) -> pid_t {
        var arguments: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        // Whoever started this process may have blocked signals; the command is to get what it is sent.
        var (process, mask) = (pid_t(), sigset_t())
        pthread_sigmask(SIG_BLOCK, nil, &mask)
        for signal in StopRequest.signals { sigdelset(&mask, signal) }
        let code = cprocess_start(&arguments, &mask, &process)
        guard code == 0 else { throw LaunchFailure(program: command[0], code: code) }
        return process
    }

    /// Passes signals on until the process has ended. As soon as the run has begun in its folder, `lock` keeps it for this
    /// supervisor; where two have begun there at once, the ranks say whose it is.
    private func wait(for process: pid_t, _ lock: inout SupervisorLock?) -> End {
        var end = End(code: 0)
        let started = ContinuousClock.now
        var (asked, told, forced) = (started, started, started)
        while true {
            var status: Int32 = 0
            if waitpid(process, &status, WNOHANG) == process {
                end.code = Self.exitCode(status)
                return end
            }
            if lock == nil { lock = try? claim() }
            let now = ContinuousClock.now
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
        let path = "/proc/\(mpirun)/task/\(mpirun)/children"
        let children = ((try? String(contentsOf: path)) ?? "").split(separator: " ").compactMap { pid_t($0) }
        for process in children.isEmpty ? [mpirun] : children { kill(process, SIGKILL) }
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

extension String {
    /// A file of the kernel's, which has no size.
    fileprivate init(contentsOf path: String) throws(LaunchFailure) {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw LaunchFailure(program: path, code: errno) }
        defer { close(file) }
        var (bytes, buffer) = ([UInt8](), [UInt8](repeating: 0, count: 4096))
        while case let count = read(file, &buffer, buffer.count), count > 0 { bytes += buffer[..<count] }
        self.init(decoding: bytes, as: UTF8.self)
    }
}
