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
        let isLost = code == ENOENT && PathKind(path) == .link
        let problem = isLost ? "is a link that leads nowhere; bring back what it names, or remove it" : nil
        throw FileError(
            code == ENOENT ? .missing : .inputOutput, path, problem ?? "cannot be listed: \(systemMessage(code))")
    }
    defer { closedir(stream) }
    var names: [String] = []
    while true {
        // The end and an error both give nothing; the error alone sets this. One taken for the end would hide files: a resume
        // would find no checkpoints.
        errno = 0
        guard let entry = readdir(stream) else { break }
        let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
            pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name != ".", name != ".." { names.append(name) }
    }
    let code = errno
    guard code == 0 else { throw FileError(.inputOutput, path, "cannot be listed: \(systemMessage(code))") }
    return names.sorted()
}

/// The names in a folder, sorted; none where nothing is there, not even a link that leads nowhere. What cannot be listed is an
/// error and never taken for empty.
package func entriesIfPresent(ofFolder path: String) throws(FileError) -> [String] {
    do throws(FileError) {
        return try entries(ofFolder: path)
    } catch {
        guard error.kind == .missing, PathKind(path) == .absent else { throw error }
        return []
    }
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

/// Makes a folder, for good, unless there is one, or a link to one.
package func makeFolder(_ path: String) throws(FileError) {
    if mkdir(path, 0o755) != 0 {
        let code = errno
        guard code == EEXIST, PathKind(path, followsLinks: true) == .folder else {
            throw FileError(.inputOutput, path, "cannot be made a folder: \(systemMessage(code))")
        }
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

/// Whether two paths lead to one place; where nothing is yet, whether they are the same text.
package func isSamePlace(_ one: String, _ other: String) -> Bool {
    (resolvedPath(one) ?? one) == (resolvedPath(other) ?? other)
}

/// The path without links; nil if it names nothing.
package func resolvedPath(_ path: String) -> String? {
    guard let pointer = realpath(path, nil) else { return nil }
    defer { free(pointer) }
    return String(cString: pointer)
}
