internal import Glibc
internal import Support

/// Reserves a run folder for one supervisor (`launch`) from its first attempt to its last. Between two attempts no run holds
/// the run's own lock, and another run could begin there.
///
/// The file is `launch.lock`, which works like `FolderLock`. It holds the supervisor's name, by which its ranks recognize it,
/// and is removed with it. It is made only in a folder in which a run has begun; other folders are not changed.
package final class SupervisorLock {
    static let fileName = "launch.lock"

    private let descriptor: Int32
    private let path: String

    /// - Parameter supervisor: its name.
    /// - Returns: nil where no run has begun in the folder, or where nothing can be written there, which the ranks will report.
    /// - Throws: ``FolderInUse`` where another supervisor has the folder.
    package init?(_ folder: String, supervisor: String) throws(FolderInUse) {
        path = "\(folder)/\(Self.fileName)"
        guard PathKind("\(folder)/\(FolderLock.fileName)") == .file else { return nil }
        guard let file = try Self.locked(path, folder) else { return nil }
        descriptor = file
        guard ftruncate(descriptor, 0) == 0, writeAll(Array(supervisor.utf8), to: descriptor) == 0 else { return nil }
    }

    /// The file, open and locked; nil where it cannot be made.
    private static func locked(_ path: String, _ folder: String) throws(FolderInUse) -> Int32? {
        while true {
            let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
            guard file >= 0 else { return nil }
            if flock(file, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK {
                close(file)
                throw FolderInUse(path: folder)
            }
            if FileIdentity.isNamed(file, path) { return file }
            close(file)
        }
    }

    deinit {
        unlink(path)
        close(descriptor)
    }

    /// - Parameter supervisor: supervisor of the run that asks; nil where it has none.
    /// - Throws: ``FolderInUse`` where the folder is another supervisor's.
    static func check(_ folder: String, supervisor: String?) throws(FolderInUse) {
        let path = "\(folder)/\(fileName)"
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return }
        defer { close(file) }
        guard flock(file, LOCK_SH | LOCK_NB) != 0, errno == EWOULDBLOCK else { return }
        let holder = try? String(decoding: InputFile.contents(of: path, limit: 1000), as: UTF8.self)
        if holder != supervisor { throw FolderInUse(path: folder) }
    }
}
