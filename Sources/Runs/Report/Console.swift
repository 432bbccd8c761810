internal import Collectives
internal import Glibc
package import Support
internal import Synchronization

/// Text for the user, without a buffer that an abrupt end would lose.
package enum Console {
    private static let failure = Mutex<Int32?>(nil)

    /// To standard output. What cannot be written there does not stop the work, see `outputFailure`.
    package static func printOutput(_ text: String) {
        switch writeAll(Array(text.utf8), to: STDOUT_FILENO) {
        case 0: break
        case EPIPE: StopRequest.readerHasLeft()
        case let code: failure.withLock { $0 = $0 ?? code }
        }
    }

    /// Why something that was printed is not in standard output, as when a disk is full; nil where all of it is.
    package static var outputFailure: FileError? {
        failure.withLock(\.self).map {
            .init(.inputOutput, "standard output", "cannot be written: \(String(cString: strerror($0)))")
        }
    }

    /// Whether whoever reads the output does not keep up: what is written now would wait.
    package static var isStalled: Bool {
        [STDOUT_FILENO, STDERR_FILENO].contains { descriptor in
            var output = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
            return poll(&output, 1, 0) == 0
        }
    }

    /// To standard error, a line that begins with the program's name.
    package static func printError(_ line: String) { _ = writeAll(Array("sq-train: \(line)\n".utf8), to: STDERR_FILENO) }
}
