internal import Glibc

/// Signals as bytes in a pipe, so that a thread can answer them with all it may do elsewhere; a handler may do next to nothing.
///
/// Handlers, since every thread of a library that was loaded before `main` would have to block a signal that is waited for.
package enum SignalPipe {
    nonisolated(unsafe) private static var reading: Int32 = -1
    nonisolated(unsafe) private static var writing: Int32 = -1

    /// Blocks signals on this thread and those it starts: the others take them, and no call here is interrupted. What arrives
    /// before `open(_:)` waits, also while the process starts another program.
    package static func block(_ signals: [Int32]) { mask(SIG_BLOCK, signals) }

    /// The opposite; for the thread that reads.
    static func unblock(_ signals: [Int32]) { mask(SIG_UNBLOCK, signals) }

    private static func mask(_ how: Int32, _ signals: [Int32]) {
        var set = sigset_t()
        sigemptyset(&set)
        for signal in signals { sigaddset(&set, signal) }
        pthread_sigmask(how, &set, nil)
    }

    /// From here on these signals are written to the pipe. One that whoever started this process has switched off stays so, if
    /// it is among `optional`: `nohup` does that to SIGHUP.
    ///
    /// - Returns: false where the system refuses a pipe; nothing has changed then.
    static func open(_ signals: [Int32], optional: Set<Int32>) -> Bool {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { return false }
        for end in ends {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
        }
        (reading, writing) = (ends[0], ends[1])
        for signal in signals where !(optional.contains(signal) && isIgnored(signal)) {
            var action = sigaction()
            action.__sigaction_handler.sa_handler = { SignalPipe.post($0) }
            action.sa_flags = SA_RESTART
            sigaction(signal, &action, nil)
        }
        return true
    }

    /// Signals have their usual effect again, and reach this thread.
    static func close(_ signals: [Int32]) {
        for signal in signals where !isIgnored(signal) { Glibc.signal(signal, SIG_DFL) }
        unblock(signals)
    }

    /// Writes a signal's number to the pipe. Safe in a handler.
    static func post(_ signal: Int32) {
        let saved = errno
        var byte = UInt8(truncatingIfNeeded: signal)
        _ = write(writing, &byte, 1)
        errno = saved
    }

    /// The next signal's number; nil where none comes in time.
    package static func next(milliseconds: Int32) -> Int32? {
        var entry = pollfd(fd: reading, events: Int16(POLLIN), revents: 0)
        _ = poll(&entry, 1, milliseconds)
        var byte: UInt8 = 0
        return read(reading, &byte, 1) == 1 ? Int32(byte) : nil
    }

    /// Whether the process ignores a signal, as it may have from the start.
    static func isIgnored(_ signal: Int32) -> Bool {
        var action = sigaction()
        guard sigaction(signal, nil, &action) == 0, let handler = action.__sigaction_handler.sa_handler else { return false }
        return unsafeBitCast(handler, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self)
    }
}
