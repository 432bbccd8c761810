internal import Glibc

/// A file for what does not fit in memory, which nobody else sees: it has no name, and is gone when its owner is, however the
/// process ends.
package final class ScratchFile {
    private let folder: String
    private let descriptor: Int32

    /// - Parameter folder: made where it is not there; removed with the file where it is empty.
    package init(folder: String) throws(FileError) {
        self.folder = folder
        let path = "\(folder)/scratch-\(String(UInt64.random(in: 0...UInt64.max), radix: 36))"
        var descriptor: Int32 = -1
        // Another process may remove the folder between the two calls.
        for _ in 0..<100 where descriptor < 0 {
            try makeFolder(folder)
            descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
            if descriptor < 0, errno != ENOENT { break }
        }
        self.descriptor = descriptor
        guard descriptor >= 0 else { throw failure("cannot be created", errno) }
        unlink(path)
    }

    deinit {
        guard descriptor >= 0 else { return }
        close(descriptor)
        rmdir(folder)
    }

    private func failure(_ problem: String, _ code: Int32) -> FileError {
        FileError(.inputOutput, folder, "a file for activations \(problem): \(systemMessage(code))")
    }

    /// Writes bytes at a place, which may lie beyond the end.
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
