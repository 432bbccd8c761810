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
