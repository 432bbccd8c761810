internal import Glibc

/// A file for what does not fit in memory, private to its owner: it has no name, and ends with its owner, however the
/// process ends.
package final class ScratchFile {
    private let folder: String
    private let descriptor: Int32

    /// Takes the room for all that is written later, so that a disk without it is found before the work.
    ///
    /// - Parameter folder: made where it is not there, as on a machine that does not share it with the others.
    package init(folder: String, bytes: Int) throws(FileError) {
        self.folder = folder
        try makeFolder(folder)
        let path = "\(folder)/scratch-\(String(UInt64.random(in: 0...UInt64.max), radix: 36))"
        descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw failure("cannot be created", errno) }
        unlink(path)
        guard bytes > 0 else { return }
        var code: Int32
        repeat { code = posix_fallocate(descriptor, 0, off_t(bytes)) } while code == EINTR
        guard code == 0 else { throw failure("cannot have \(bytes) bytes", code) }
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
    }

    private func failure(_ problem: String, _ code: Int32) -> FileError {
        FileError(.inputOutput, folder, "a file for what does not fit in memory \(problem): \(systemMessage(code))")
    }

    /// Writes bytes at a place.
    package func write(_ buffer: UnsafeRawBufferPointer, at offset: Int) throws(FileError) {
        var done = 0
        while done < buffer.count {
            let put = pwrite(
                descriptor, buffer.baseAddress.map { $0 + done }, buffer.count - done, off_t(offset + done))
            if put > 0 {
                done += put
                WorkProgress.note()
            } else if put == 0 || errno != EINTR {
                throw failure("cannot be written", put == 0 ? EIO : errno)
            }
        }
    }

    /// Fills a buffer with what was written at a place.
    package func read(_ buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(FileError) {
        var done = 0
        while done < buffer.count {
            let got = pread(descriptor, buffer.baseAddress.map { $0 + done }, buffer.count - done, off_t(offset + done))
            if got > 0 {
                done += got
            } else if got == 0 || errno != EINTR {
                throw failure("cannot be read", got == 0 ? EIO : errno)
            }
        }
    }
}
