internal import Collectives
internal import Glibc
internal import Support

/// Text for the user, without a buffer that an abrupt end would lose.
package enum Console {
    /// To standard output.
    package static func say(_ text: String) {
        if writeAll(Array(text.utf8), to: STDOUT_FILENO) == EPIPE { StopRequest.readerHasLeft() }
    }

    /// To standard error, a line that begins with the program's name.
    package static func complain(_ line: String) { _ = writeAll(Array("sq-train: \(line)\n".utf8), to: STDERR_FILENO) }
}
