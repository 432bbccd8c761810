internal import Collectives
internal import Glibc
package import Support
internal import Synchronization

/// Output for the user, without a buffer that would be lost at an abrupt end.
package enum Console {
    private static let failure = Mutex<Int32?>(nil)

    /// Prints to standard output. A failure to write does not stop the work, see `outputFailure`.
    package static func printOutput(_ text: String) {
        switch writeAll(Array(text.utf8), to: STDOUT_FILENO) {
        case 0: break
        case EPIPE: StopRequest.readerHasLeft()
        case let code: failure.withLock { $0 = $0 ?? code }
        }
    }

    /// The error where something could not be written to standard output, for example because the disk is full; nil where
    /// everything was written.
    package static var outputFailure: FileError? {
        failure.withLock(\.self).map {
            .init(.inputOutput, "standard output", "cannot be written: \(String(cString: strerror($0)))")
        }
    }

    /// Whether the reader of the output is too slow, so that writing now would block.
    package static var isStalled: Bool {
        [STDOUT_FILENO, STDERR_FILENO].contains { descriptor in
            var output = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
            return poll(&output, 1, 0) == 0
        }
    }

    /// Prints a line to standard error that begins with the program's name.
    package static func printError(_ line: String) { _ = writeAll(Array("sq-train: \(line)\n".utf8), to: STDERR_FILENO) }
}
