internal import Glibc

/// Writes every byte.
/// - Returns: 0, or the system's error number.
package func writeAll(_ bytes: [UInt8], to descriptor: Int32) -> Int32 {
    var rest = bytes[...]
    while !rest.isEmpty {
        let put = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        if put > 0 {
            rest = rest.dropFirst(put)
        } else if put < 0, errno == EAGAIN {
            // Whoever shares the descriptor has said that it is not to wait; what is written now would be lost.
            var room = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
            poll(&room, 1, -1)
        } else if put == 0 || errno != EINTR {
            return put == 0 ? EIO : errno
        }
    }
    return 0
}
