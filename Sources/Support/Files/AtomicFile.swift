internal import Glibc

/// A file written beside its destination and moved there when complete: readers see the old content or the new, never a part,
/// also after a crash or on a full disk.
package final class AtomicFile {
    package let path: String
    private let temporaryPath: String
    private var descriptor: Int32
    private var pending: [UInt8] = []
    private static let bufferSize = 1 << 20

    /// Bytes written so far.
    package private(set) var count = 0
    /// Of what has gone to the file; nil where none was asked for.
    private var hash: SHA256?

    /// - Parameter hashes: whether to take the SHA-256 of what is written; see ``digest``.
    package init(_ path: String, hashes: Bool = false) throws(FileError) {
        self.path = path
        hash = hashes ? SHA256() : nil
        let suffix = String(UInt64.random(in: 0...UInt64.max), radix: 36)
        temporaryPath = path + ".tmp-" + suffix
        descriptor = open(temporaryPath, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
        if descriptor < 0 { throw failure("cannot be created", errno) }
    }

    deinit {
        guard descriptor >= 0 else { return }
        close(descriptor)
        unlink(temporaryPath)
    }

    private func failure(_ problem: String, _ code: Int32) -> FileError {
        let kept = PathKind(path) == .absent ? "" : "; the older file of this name is kept as it was"
        return FileError(.inputOutput, path, "\(problem): \(systemMessage(code))\(kept)")
    }

    /// Appends bytes.
    package func write(_ bytes: some Collection<UInt8>) throws(FileError) {
        pending += bytes
        count += bytes.count
        if pending.count >= Self.bufferSize { try flush() }
    }

    /// Appends raw memory.
    package func write(_ buffer: UnsafeRawBufferPointer) throws(FileError) {
        try flush()
        try writeAll(buffer)
        count += buffer.count
    }

    private func flush() throws(FileError) {
        guard !pending.isEmpty else { return }
        let bytes = pending
        pending.removeAll(keepingCapacity: true)
        try bytes.span.withUnsafeBytes { (buffer) throws(FileError) in try writeAll(buffer) }
    }

    /// SHA-256 of the whole file, hexadecimal, once it is committed; nil where none was asked for.
    package var digest: String? { hash.map { hexadecimal($0.finalize()) } }

    private func writeAll(_ buffer: UnsafeRawBufferPointer) throws(FileError) {
        hash?.update(buffer)
        var done = 0
        while done < buffer.count {
            let put = Glibc.write(descriptor, buffer.baseAddress.map { $0 + done }, buffer.count - done)
            if put > 0 {
                done += put
                WorkProgress.note()
            } else if put == 0 || errno != EINTR {
                throw failure("cannot be written", put == 0 ? EIO : errno)
            }
        }
    }

    /// Makes the content durable and puts it in the destination's place; nothing can be written afterwards.
    package func commit() throws(FileError) {
        precondition(descriptor >= 0, "commit of \(path) twice")
        try flush()
        guard fsync(descriptor) == 0 else { throw failure("cannot be made durable", errno) }
        let closing = descriptor
        descriptor = -1
        guard close(closing) == 0, rename(temporaryPath, path) == 0 else {
            let code = errno
            unlink(temporaryPath)
            throw failure("cannot be put in place", code)
        }
        try synchronizeDirectory(parentDirectory(of: path))
    }

    /// Writes a whole file.
    package static func write(_ bytes: some Collection<UInt8>, to path: String) throws(FileError) {
        let file = try AtomicFile(path)
        try file.write(bytes)
        try file.commit()
    }

    /// Writes text.
    package static func write(_ text: String, to path: String) throws(FileError) {
        try write(text.utf8, to: path)
    }
}

extension String {
    /// A path without the slashes that it ends in, so that the name of what is in it may follow one.
    package var withoutEndingSlashes: String {
        var path = self[...]
        while path.count > 1, path.last == "/" { path.removeLast() }
        return String(path)
    }
}

/// The folder a path's last component is in.
package func parentDirectory(of path: String) -> String {
    let path = path.withoutEndingSlashes
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
}

/// Makes the entries of a folder durable: without it a rename may be forgotten in a power failure.
package func synchronizeDirectory(_ path: String) throws(FileError) {
    let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else {
        throw FileError(.inputOutput, path, "cannot be opened: \(systemMessage(errno))")
    }
    defer { close(descriptor) }
    guard fsync(descriptor) == 0 else {
        throw FileError(.inputOutput, path, "cannot be made durable: \(systemMessage(errno))")
    }
}
