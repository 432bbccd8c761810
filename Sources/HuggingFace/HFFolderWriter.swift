internal import Glibc
package import Support

/// A Hugging Face folder being written: `<name>.tmp`, moved to its name when complete.
package final class HFFolderWriter {
    /// The folder's final path.
    package let path: String
    /// Where the files go until `commit()`.
    package var temporaryPath: String { place.path }
    private let place: WritingFolder
    /// Whether a folder had the name when the writer began, which may then be replaced.
    private let replaces: Bool

    /// Files of a model folder that belong to the tokenizer and to generation, and are passed through as they are.
    package static let passedThrough = [
        "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
        "vocab.json", "merges.txt", "chat_template.jinja", "generation_config.json",
    ]

    /// The file that records a model's origin, for programs.
    package static let provenance = "provenance.json"

    /// Starts an empty folder; what an interrupted run left under the temporary name is removed.
    ///
    /// - Parameter besideOthers: other processes may be writing this folder, too: the temporary name is this writer's alone.
    ///   Else two at a time are refused.
    package init(_ path: String, besideOthers: Bool = false) throws(FileError) {
        self.path = path.withoutEndingSlashes
        // Looked at once: between two looks another writer may have put its folder there.
        let kind = PathKind(self.path)
        replaces = kind == .folder
        guard replaces || kind == .absent else {
            throw FileError(.inputOutput, self.path, "is there already and is not a folder")
        }
        if besideOthers {
            WritingFolder.removeLeftovers(of: Self.oldPath(of: self.path) + Self.mark)
            place = try WritingFolder.besideOthers(Self.temporaryPath(of: path) + Self.mark)
        } else {
            place = try WritingFolder.alone(Self.temporaryPath(of: path))
        }
    }

    /// Where the files of a folder go while it is being written.
    package static func temporaryPath(of path: String) -> String { path.withoutEndingSlashes + ".tmp" }

    /// What a folder is called while another takes its place.
    private static func oldPath(of path: String) -> String { path + ".old" }

    /// Before what makes a name one writer's alone.
    private static let mark = "-"

    /// Where to write a file of the folder.
    package func file(_ name: String) -> String { temporaryPath + "/" + name }

    /// Writes a file of the folder.
    package func write(_ text: String, as name: String) throws(FileError) { try AtomicFile.write(text, to: file(name)) }

    /// Copies those of `names` that `folder` has.
    package func copy(_ names: [String] = passedThrough, from folder: String) throws(FileError) {
        for name in names where PathKind(folder + "/" + name) != .absent {
            let source = try InputFile(folder + "/" + name)
            let target = try AtomicFile(file(name))
            let chunk = 1 << 20
            for start in stride(from: 0, to: source.size, by: chunk) {
                try target.write(source.bytes(start..<min(start + chunk, source.size)))
            }
            try target.commit()
        }
    }

    /// Makes the folder durable and gives it its name. The folder that had the name when this one was begun is first moved to
    /// `<name>.old-<random>`, moved back if the new one cannot take its place, and removed in the end; what a killed writer has
    /// left of one goes with the next that is replaced.
    ///
    /// - Throws: `FileError` where a folder with something in it has got the name meanwhile.
    package func commit() throws(FileError) {
        try synchronizeDirectory(temporaryPath)
        guard replaces, PathKind(path) == .folder else {
            try move(temporaryPath, to: path)
            place.keep(as: path)
            return try synchronizeDirectory(parentDirectory(of: path))
        }
        let oldPath = oldPathOfItsOwn
        try WritingFolder.mark(path)
        do throws(FileError) {
            try move(path, to: oldPath)
            do throws(FileError) {
                try move(temporaryPath, to: path)
            } catch {
                try move(oldPath, to: path)
                throw error
            }
        } catch {
            WritingFolder.unmark(path)
            throw error
        }
        place.keep(as: path)
        try synchronizeDirectory(parentDirectory(of: path))
        try removeTree(oldPath)
        WritingFolder.removeLeftovers(of: Self.oldPath(of: path) + Self.mark)
    }

    /// What the folder is called while this one takes its place.
    private var oldPathOfItsOwn: String { Self.oldPath(of: path) + Self.mark + WritingFolder.randomEnd }

    /// Makes the folder durable and gives it its name, unless one that serves as well has got it meanwhile: then this one is
    /// removed. One that does not serve is replaced.
    ///
    /// - Parameter serves: whether the folder that has the name does; fast, since others may be replacing it.
    package func commit(unless serves: () throws -> Bool) throws {
        try synchronizeDirectory(temporaryPath)
        while rename(temporaryPath, path) != 0 {
            guard errno == ENOTEMPTY || errno == EEXIST else {
                throw FileError(.inputOutput, temporaryPath, "cannot be renamed to \(path): \(systemMessage(errno))")
            }
            if try serves() { return }
            let oldPath = oldPathOfItsOwn
            // Another process may have moved it first.
            guard rename(path, oldPath) == 0 || errno == ENOENT else {
                throw FileError(.inputOutput, path, "cannot be renamed to \(oldPath): \(systemMessage(errno))")
            }
            // Another may take it for a leftover, and remove it.
            try? removeTree(oldPath)
        }
        place.keep(as: path)
        try synchronizeDirectory(parentDirectory(of: path))
    }

    private func move(_ source: String, to target: String) throws(FileError) {
        guard rename(source, target) == 0 else {
            throw FileError(.inputOutput, source, "cannot be renamed to \(target): \(systemMessage(errno))")
        }
    }
}
