internal import Collectives
internal import Glibc

/// Text for the user, without a buffer that an abrupt end would lose.
package enum Console {
    /// To standard output.
    package static func say(_ text: String) {
        if writeAll(Array(text.utf8), to: STDOUT_FILENO) == EPIPE { StopRequest.readerHasLeft() }
    }

    /// To standard error, a line that begins with the program's name.
    package static func complain(_ line: String) { _ = writeAll(Array("sq-train: \(line)\n".utf8), to: STDERR_FILENO) }
}

/// Writes every byte.
/// - Returns: 0, or the system's error number.
func writeAll(_ bytes: [UInt8], to descriptor: Int32) -> Int32 {
    var rest = bytes[...]
    while !rest.isEmpty {
        let put = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        if put > 0 {
            rest = rest.dropFirst(put)
        } else if put == 0 || errno != EINTR {
            return put == 0 ? EIO : errno
        }
    }
    return 0
}
