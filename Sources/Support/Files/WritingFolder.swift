internal import Glibc

/// A folder for what is being written, beside the name that it will have: no two writers have the same one, and what those left
/// that live no longer is removed.
///
/// A writer holds a `flock` on a file of its own in the folder, opened for writing, which NFS makes a lock between machines of.
/// The system releases it when the process ends, for any reason. A file system without locks is used without.
package final class WritingFolder {
    package let path: String
    private let lock: Lock
    private var isKept = false

    private static let lockName = ".writing"

    private init(_ path: String, _ lock: Lock) { (self.path, self.lock) = (path, lock) }

    deinit {
        if !isKept { try? removeTree(path) }
    }

    /// The folder has another name now, and stays.
    package func keep(as path: String) {
        isKept = true
        Self.unmark(path)
    }

    /// Says of a folder that a writer may remove it with all in it.
    package static func mark(_ path: String) throws(FileError) { try AtomicFile.write("", to: "\(path)/\(lockName)") }

    /// Takes the mark away.
    package static func unmark(_ path: String) { unlink("\(path)/\(lockName)") }

    /// Whether a folder may be emptied: a writer has made it, or nothing is in it. Others are their owner's.
    private static func isWriters(_ path: String) throws(FileError) -> Bool {
        let names = try entries(ofFolder: path)
        return names.isEmpty || names.contains(lockName)
    }

    /// Whether the folder holds nothing but what writers have made.
    private static func isFree(_ path: String) throws(FileError) -> Bool {
        switch PathKind(path) {
        case .absent: return true
        case .folder: return try isWriters(path)
        case .file, .link, .other: return false
        }
    }

    /// The folder of this name, empty.
    ///
    /// - Throws: `FileError` where another process writes there, where something is that no writer has left, or the folder
    ///   cannot be made.
    package static func alone(_ path: String) throws(FileError) -> WritingFolder {
        while true {
            let isNew = try makesNewFolder(path)
            let isFree = try isFree(path)
            guard isNew || isFree else {
                throw FileError(
                    .inputOutput, path,
                    "exists and is not a leftover of an earlier run; move it away, or choose another place")
            }
            if let lock = try Lock(path, certainly: false) {
                for name in try entries(ofFolder: path) where !isNew && name != lockName { try removeTree("\(path)/\(name)") }
                return WritingFolder(path, lock)
            }
            // Who wrote there may have finished between.
            guard PathKind(path) != .absent else { continue }
            throw FileError(
                .inputOutput, path, "another process is writing there; wait until it has ended, or choose another place")
        }
    }

    /// A folder whose name begins so and has a random end, for one of several processes that make the same.
    package static func besideOthers(_ beginning: String) throws(FileError) -> WritingFolder {
        removeLeftovers(of: beginning)
        while true {
            let path = beginning + randomEnd
            guard try makesNewFolder(path) else { continue }
            // Before it is locked, others may take it for a leftover and remove it.
            if let lock = try Lock(path, certainly: false) { return WritingFolder(path, lock) }
        }
    }

    /// Makes a name one writer's alone.
    package static var randomEnd: String { String(UInt64.random(in: 0...UInt64.max), radix: 36) }

    /// Removes folders beside each other whose names begin so and whose writers live no longer. One that cannot be removed
    /// stays.
    package static func removeLeftovers(of beginning: String) {
        let (parent, start) = (parentDirectory(of: beginning), beginning.split(separator: "/").last ?? "")
        for name in (try? entries(ofFolder: parent)) ?? [] where name.hasPrefix(start) {
            let path = "\(parent)/\(name)"
            guard PathKind(path) == .folder, (try? isWriters(path)) == true, let lock = try? Lock(path, certainly: true) else {
                continue
            }
            try? removeTree(path)
            withExtendedLifetime(lock) {}
        }
    }

    /// The lock on the file that marks a folder as one whose writer is alive.
    private final class Lock {
        private let descriptor: Int32

        deinit { close(descriptor) }

        /// Makes the file where it is not there.
        ///
        /// - Parameter certainly: whether a file system without locks is refused; else it is used without.
        /// - Returns: nil where another process has the lock, or the folder has been or is being removed.
        /// - Throws: `FileError` where the file cannot be made.
        init?(_ folder: String, certainly: Bool) throws(FileError) {
            let path = "\(folder)/\(lockName)"
            let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
            guard file >= 0 else {
                let code = errno
                guard code == ENOENT else {
                    throw FileError(.inputOutput, path, "cannot be created: \(systemMessage(code))")
                }
                return nil
            }
            let isLocked = flock(file, LOCK_EX | LOCK_NB) == 0
            let isFree = isLocked || (!certainly && errno != EWOULDBLOCK)
            // Who removes leftovers may have been between: then the file in the folder is not this one.
            guard isFree, FileIdentity.isNamed(file, path) else {
                close(file)
                return nil
            }
            descriptor = file
        }
    }
}
