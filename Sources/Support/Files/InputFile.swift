internal import Glibc

/// A regular file opened for reading at any position.
///
/// Reads go through `pread`, so that a file that shrinks while it is open gives an error; a mapping would raise SIGBUS.
package final class InputFile: Sendable {
    package let path: String
    /// Size in bytes when the file was opened.
    package let size: Int
    private let descriptor: Int32

    /// - Throws: `FileError`: missing, or not a regular file (a FIFO or a device could block for ever).
    package init(_ path: String) throws(FileError) {
        guard !path.utf8.contains(0) else { throw FileError(.missing, path, "a path cannot contain a zero byte") }
        let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else {
            let code = errno
            let isAbsent = code == ENOENT || code == ENOTDIR
            throw FileError(
                isAbsent ? .missing : .inputOutput, path,
                isAbsent ? "there is no such file" : "cannot be opened: \(systemMessage(code))")
        }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            let code = errno
            close(descriptor)
            throw FileError(.inputOutput, path, "cannot be examined: \(systemMessage(code))")
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw FileError(.malformed, path, "is not a regular file")
        }
        self.path = path
        self.descriptor = descriptor
        size = Int(status.st_size)
    }

    deinit { close(descriptor) }

    /// Fills `target` with the bytes from `offset` on.
    package func read(into target: UnsafeMutableRawBufferPointer, at offset: Int) throws(FileError) {
        var done = 0
        while done < target.count {
            let got = pread(descriptor, target.baseAddress.map { $0 + done }, target.count - done, off_t(offset + done))
            if got > 0 {
                done += got
                WorkProgress.note()
            } else if got == 0 {
                throw FileError(.malformed, path, "ends at byte \(offset + done), although it was longer when opened")
            } else if errno != EINTR {
                throw FileError(.inputOutput, path, "cannot be read at byte \(offset + done): \(systemMessage(errno))")
            }
        }
    }

    /// The bytes of `range`. - Precondition: the range lies within `size`.
    package func bytes(_ range: Range<Int>) throws(FileError) -> [UInt8] {
        precondition(range.lowerBound >= 0 && range.upperBound <= size, "bytes \(range) of \(size)")
        var failure: FileError?
        let bytes = [UInt8](unsafeUninitializedCapacity: range.count) { buffer, count in
            do throws(FileError) {
                try read(into: UnsafeMutableRawBufferPointer(buffer), at: range.lowerBound)
                count = buffer.count
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return bytes
    }

    /// Whether these are the file's first bytes.
    package func begins(with beginning: [UInt8]) throws(FileError) -> Bool {
        guard size >= beginning.count else { return false }
        return try bytes(0..<beginning.count) == beginning
    }

    /// The whole file, of at most `limit` bytes.
    package static func contents(of path: String, limit: Int) throws(FileError) -> [UInt8] {
        let file = try InputFile(path)
        guard file.size <= limit else {
            throw FileError(.malformed, path, "has \(file.size) bytes; at most \(limit) are accepted")
        }
        return try file.bytes(0..<file.size)
    }

    /// SHA-256 of the file's bytes, hexadecimal.
    package func sha256() throws(FileError) -> String {
        var hash = SHA256()
        let step = 16 << 20
        for first in stride(from: 0, to: size, by: step) { hash.update(try bytes(first..<min(first + step, size))) }
        return hexadecimal(hash.finalize())
    }

    /// The JSON document in a file of at most `limit` bytes.
    package static func json(_ path: String, limit: Int = 16 << 20, depth: Int = 64) throws(FileError) -> JSONValue {
        let bytes = try contents(of: path, limit: limit)
        do throws(JSONError) {
            return try JSONValue(parsing: bytes, depth: depth)
        } catch {
            throw FileError(.malformed, path, Impostor(bytes)?.problem ?? "byte \(error.offset): \(error.problem)")
        }
    }
}

extension [UInt8] {
    /// A text without its byte-order mark, which marks the encoding and is not part of the text.
    package var withoutByteOrderMark: ArraySlice<UInt8> {
        let mark: [UInt8] = [0xEF, 0xBB, 0xBF]
        return starts(with: mark) ? dropFirst(mark.count) : self[...]
    }
}

/// The system's words for an error number.
package func systemMessage(_ code: Int32) -> String { String(cString: strerror(code)) }
