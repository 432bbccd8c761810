internal import Glibc
package import Support

/// An error: another run writes into the run folder.
package struct FolderInUse: ReportableError, Equatable {
    package let path: String

    package init(path: String) { self.path = path }

    /// Another try would find the same run, or take that run's results for its own.
    package var exitCode: ExitCode { .configuration }
    package var description: String {
        ("\(path): another run is writing into this folder, on this machine or one that shares it; wait for its end, or give "
            + "this one another --out").singleLine
    }
}

/// Keeps other runs out of a folder for as long as this object exists. The system releases the lock when the process ends,
/// however it ends, so that no lock is ever stale.
///
/// It is `flock` on a separate file, opened for writing. NFS turns this into a lock on the server that works between machines
/// (for a folder it would not, since folders cannot be opened for writing). The locks of `fcntl` would end with the first
/// descriptor of the file that is closed. On a file system without locks there is no lock.
///
/// The file holds the name of the run that has begun here last. If no run has begun, it is removed with the lock.
package final class FolderLock {
    static let fileName = "run.lock"
    /// A killed run may have ranks that are still ending when it is started again.
    private static let timeout = Duration.seconds(5)

    /// The time after which the user is told that the run waits.
    private static let patience = Duration.seconds(0.5)

    private let descriptor: Int32
    /// Path of a lock file that holds no run's name.
    private var unsignedPath: String?

    /// - Parameters:
    ///   - supervisor: the run's supervisor; nil where it has none.
    ///   - tell: called with a line for the user if another run has the folder and this one waits for its end.
    /// - Throws: ``FolderInUse``, where another run holds the lock for longer than an ending one would, or where the folder is
    ///   another supervisor's; ``RunFolderError``.
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
            if FileIdentity.isNamed(file, name) {
                // The previous holder of the lock may have written its name since the file was opened.
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

    /// Whether a run has the folder now. A run that wants the folder at the same moment tries again.
    static func isHeld(_ folder: String) -> Bool {
        let file = open("\(folder)/\(fileName)", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return false }
        defer { close(file) }
        return flock(file, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK
    }

    /// Writes the name of the run, for later attempts.
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
