internal import Glibc
internal import Support

/// Says that the writer of a temporary folder lives: the system lets go of a lock when its process ends, in whatever way, so
/// that a folder without one is a leftover.
///
/// `flock` on a file of its own in the folder, opened for writing, which NFS makes a lock between machines of.
final class WriterLock {
    private static let fileName = ".writing"

    private let descriptor: Int32

    deinit { close(descriptor) }

    private static func file(_ folder: String) -> String { "\(folder)/\(fileName)" }

    /// Makes the file where it is not there.
    ///
    /// - Parameter certainly: whether a file system without locks is refused; else it is used without.
    /// - Returns: nil where somebody else has the lock, or the folder is gone or going.
    /// - Throws: `FileError` where the file cannot be made.
    private init?(_ folder: String, certainly: Bool) throws(FileError) {
        let path = Self.file(folder)
        let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        guard file >= 0 else {
            let code = errno
            guard code == ENOENT else { throw FileError(.inputOutput, path, "cannot be created: \(systemMessage(code))") }
            return nil
        }
        let isLocked = flock(file, LOCK_EX | LOCK_NB) == 0
        let isFree = isLocked || (!certainly && errno != EWOULDBLOCK)
        // Who removes leftovers may have been between: then the file in the folder is not this one.
        var (own, there) = (stat(), stat())
        guard isFree, fstat(file, &own) == 0, stat(path, &there) == 0, own.st_ino == there.st_ino else {
            close(file)
            return nil
        }
        descriptor = file
    }

    /// Makes a folder that is locked while the result lives.
    ///
    /// - Parameter name: another name each time.
    static func folder(_ name: () -> String) throws(FileError) -> (path: String, lock: WriterLock) {
        while true {
            let path = name()
            guard mkdir(path, 0o755) == 0 else {
                throw FileError(.inputOutput, path, "cannot be created: \(systemMessage(errno))")
            }
            // Before it is locked, others may take it for a leftover and remove it.
            if let lock = try WriterLock(path, certainly: false) { return (path, lock) }
        }
    }

    /// Removes folders beside each other whose names begin so and whose writers live no longer. One that cannot be removed
    /// stays.
    static func removeLeftovers(of beginning: String) {
        let (parent, start) = (parentDirectory(of: beginning), beginning.split(separator: "/").last ?? "")
        for name in (try? entries(ofFolder: parent)) ?? [] where name.hasPrefix(start) {
            let path = "\(parent)/\(name)"
            guard PathKind(path) == .folder, let lock = try? WriterLock(path, certainly: true) else { continue }
            try? removeTree(path)
            withExtendedLifetime(lock) {}
        }
    }

    /// Removes the file from a folder that is complete.
    static func unmark(_ folder: String) { unlink(file(folder)) }
}
