internal import Glibc

/// What a path names, without following a link at its end.
package enum PathKind {
    case absent, file, folder, link, other

    /// - Parameter followsLinks: a link is what it leads to.
    package init(_ path: String, followsLinks: Bool = false) {
        var status = stat()
        guard (followsLinks ? stat(path, &status) : lstat(path, &status)) == 0 else {
            self = .absent
            return
        }
        self =
            switch status.st_mode & S_IFMT {
            case S_IFREG: .file
            case S_IFDIR: .folder
            case S_IFLNK: .link
            default: .other
            }
    }
}

/// The names in a folder, sorted.
package func entries(ofFolder path: String) throws(FileError) -> [String] {
    guard let stream = opendir(path) else {
        let code = errno
        throw FileError(code == ENOENT ? .missing : .inputOutput, path, "cannot be listed: \(systemMessage(code))")
    }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
            pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
}

/// Removes a file, a link (not what it names), or a folder with all in it. Nothing to remove is no error.
package func removeTree(_ path: String) throws(FileError) {
    if PathKind(path) == .folder {
        for name in try entries(ofFolder: path) { try removeTree(path + "/" + name) }
    }
    guard remove(path) != 0 else { return }
    let code = errno
    // On a file system that only reads, what is absent cannot be removed either.
    var status = stat()
    guard lstat(path, &status) == 0 else { return }
    throw FileError(.inputOutput, path, "cannot be removed: \(systemMessage(code))")
}

/// Makes a folder, for good, unless there is one.
package func makeFolder(_ path: String) throws(FileError) {
    guard mkdir(path, 0o755) == 0 || (errno == EEXIST && PathKind(path) == .folder) else {
        throw FileError(.inputOutput, path, "cannot be made a folder: \(systemMessage(errno))")
    }
    try synchronizeDirectory(parentDirectory(of: path))
}

/// Makes a folder; false where there is something of this name. Of several processes that try, one alone makes it.
package func makesNewFolder(_ path: String) throws(FileError) -> Bool {
    if mkdir(path, 0o755) == 0 { return true }
    let code = errno
    guard code == EEXIST else { throw FileError(.inputOutput, path, "cannot be made a folder: \(systemMessage(code))") }
    return false
}

/// Gives a file or folder another name in the same folder, for good.
package func renameDurably(_ source: String, to target: String) throws(FileError) {
    guard rename(source, target) == 0 else {
        throw FileError(.inputOutput, source, "cannot be renamed to \(target): \(systemMessage(errno))")
    }
    try synchronizeDirectory(parentDirectory(of: target))
}

/// The path without links; nil if it names nothing.
package func resolvedPath(_ path: String) -> String? {
    guard let pointer = realpath(path, nil) else { return nil }
    defer { free(pointer) }
    return String(cString: pointer)
}
