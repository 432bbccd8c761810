internal import Glibc
internal import Support
package import TransitionBus

extension KeyFile {
    /// - Throws: `FileError` for a file that cannot be read, ``BusError`` for one that is not a key file or that other users
    ///   may read.
    package init(contentsOf path: String) throws {
        let bytes = try InputFile.contents(of: path, limit: 1 << 20)
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & 0o077 == 0 else {
            throw BusError.unsuitable(
                setting: path,
                rule: "other users may read this key file; chmod 600 it, or make another with sq-train watch --new-key")
        }
        try self.init(String(decoding: bytes, as: UTF8.self), name: path)
    }

    /// Writes a new key pair to a file that must not exist yet and that only this user may read; returns the public key.
    package static func create(_ path: String) throws -> String {
        let keys = try CurveKeys.generate()
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw RunFolderError(path, "cannot be created", errno) }
        let code = writeAll(Array(text(keys).utf8), to: descriptor)
        guard close(descriptor) == 0, code == 0 else {
            unlink(path)
            throw RunFolderError(path, "cannot be written", code == 0 ? errno : code)
        }
        return keys.publicKey
    }
}
