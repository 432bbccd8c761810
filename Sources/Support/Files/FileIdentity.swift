internal import Glibc

/// Which file or folder a name or a descriptor stands for, whatever it is called: the same one has the same identity as long as
/// it is there.
package struct FileIdentity: Equatable, Sendable {
    private let device: dev_t
    private let number: ino_t

    /// Of what a path leads to, by way of links; nil where nothing is there.
    package init?(_ path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        (device, number) = (status.st_dev, status.st_ino)
    }

    /// Of an open file; nil where the descriptor is none.
    package init?(descriptor: Int32) {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { return nil }
        (device, number) = (status.st_dev, status.st_ino)
    }

    /// Whether an open file is still the one at this path: another process may have removed or replaced that.
    package static func isNamed(_ descriptor: Int32, _ path: String) -> Bool {
        guard let held = FileIdentity(descriptor: descriptor) else { return false }
        return held == FileIdentity(path)
    }
}

/// A file or folder that stays the same one, whatever it is called meanwhile, and that keeps its identity for itself until this
/// object goes.
package final class HeldFile {
    private let descriptor: Int32

    /// Of what a path leads to, by way of links; nil where nothing is there.
    ///
    /// - Throws: ``FileError`` where something is there that cannot be opened.
    package init?(_ path: String) throws(FileError) {
        // Whatever it is, nobody is waited for.
        descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        let code = errno
        guard descriptor < 0 else { return }
        guard [ENOENT, ENOTDIR, ENAMETOOLONG].contains(code) else {
            throw FileError(.inputOutput, path, "cannot be opened: \(systemMessage(code))")
        }
        return nil
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// By which it is found under whatever name, also after it has been removed from it.
    package var path: String { "/proc/self/fd/\(descriptor)" }

    /// Whether it is what this path leads to now.
    package func isNamed(_ path: String) -> Bool { FileIdentity.isNamed(descriptor, path) }
}
