internal import Collectives
internal import Glibc
internal import Support

/// Text for the user, without a buffer that an abrupt end would lose.
package enum Console {
    /// To standard output.
    package static func printOutput(_ text: String) {
        if writeAll(Array(text.utf8), to: STDOUT_FILENO) == EPIPE { StopRequest.readerHasLeft() }
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
