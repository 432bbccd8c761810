internal import Glibc
package import Support

/// A run folder that another run writes into.
package struct FolderInUse: ReportableError, Equatable {
    package let path: String

    package init(path: String) { self.path = path }

    /// Another try would find the same run, or take its results for its own.
    package var exitCode: ExitCode { .configuration }
    package var description: String {
        ("\(path): another run is writing into this folder, on this machine or one that shares it; wait for its end, or give "
            + "this one another --out").singleLine
    }
}

/// Keeps other runs out of a folder for as long as it lives. The system lets go of it when the process ends, in whatever way:
/// no lock is ever stale.
///
/// `flock` on a file of its own, opened for writing: NFS makes of it a lock on the server that holds between machines (of a
/// folder itself it would not, since folders cannot be opened for writing). The locks of `fcntl` would end with the first
/// descriptor of the file that is closed. A file system without locks is used without.
///
/// The file holds the name of the run that has begun here last. Where none has, it goes with the lock.
package final class FolderLock {
    static let fileName = "run.lock"
    /// A run that was killed may have ranks that are still dying when it is started again.
    private static let timeout = Duration.seconds(5)

    /// After which whoever waits is told that it does.
    private static let patience = Duration.seconds(0.5)

    private let descriptor: Int32
    /// Of a file that no run has signed.
    private var unsignedPath: String?

    /// - Parameters:
    ///   - supervisor: of the run; nil where it has none.
    ///   - tell: gets a line where another run has the folder, and this one waits for its end.
    /// - Throws: ``FolderInUse``, where another run holds the lock for longer than a dying one would, or the folder is another
    ///   supervisor's; ``RunFolderError``.
    package init(
        _ folder: String, supervisor: String? = nil, tell: (String) -> Void = Console.printError
    ) throws {
        try SupervisorLock.check(folder, supervisor: supervisor)
        let name = "\(folder)/\(Self.fileName)"
        let began = ContinuousClock.now
        var hasTold = false
        while true {
            let file = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
            guard file >= 0 else { throw RunFolderError(name, "cannot be created", errno) }
            while flock(file, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK || errno == EINTR {
                guard .now < began + Self.timeout else {
                    close(file)
                    throw FolderInUse(path: folder)
                }
                if !hasTold, .now > began + Self.patience {
                    hasTold = true
                    let most = "\(Self.timeout.components.seconds) seconds at most"
                    tell("\(folder): another run is writing into this folder; waits \(most) for its end".singleLine)
                }
                usleep(50_000)
            }
            if isNamed(file, name) {
                // Whoever had the lock before may have signed it since it was opened.
                (descriptor, unsignedPath) = (file, isEmpty(file) ? name : nil)
                return
            }
            close(file)
            guard .now < began + Self.timeout else { throw FolderInUse(path: folder) }
        }
    }

    deinit {
        if let unsignedPath { unlink(unsignedPath) }
        close(descriptor)
    }

    /// Whether a run has the folder now. One that wants it at the same moment tries again.
    static func isHeld(_ folder: String) -> Bool {
        let file = open("\(folder)/\(fileName)", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return false }
        defer { close(file) }
        return flock(file, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK
    }

    /// Leaves the name of the run for later attempts.
    func sign(_ run: String, _ folder: String) throws(RunFolderError) {
        let code = ftruncate(descriptor, 0) == 0 ? writeAll(Array(run.utf8), to: descriptor) : errno
        guard code == 0 else { throw RunFolderError("\(folder)/\(Self.fileName)", "cannot be written", code) }
        unsignedPath = nil
    }
}

private func isEmpty(_ file: Int32) -> Bool {
    var status = stat()
    return fstat(file, &status) == 0 && status.st_size == 0
}

/// Whether an open file is the one of this name: whoever had it before may have removed it.
func isNamed(_ file: Int32, _ path: String) -> Bool {
    var (held, named) = (stat(), stat())
    return fstat(file, &held) == 0 && stat(path, &named) == 0 && held.st_ino == named.st_ino && held.st_dev == named.st_dev
}
