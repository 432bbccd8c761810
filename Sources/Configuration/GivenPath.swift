internal import Glibc
internal import Support

/// Paths as users give them: a run's folder stands for the file or the model in it that is meant.
package enum GivenPath {
    /// A model's folder or file as it is given, or the `model` in a run's folder, without slashes at the end. Nothing is read.
    ///
    /// - Throws: `FileError` for what is not here but looks like the name of a model elsewhere, with how to get that.
    package static func model(_ path: String) throws -> String {
        let folder = path.withoutEndingSlashes
        if exists(path) {
            return !exists("\(folder)/config.json") && exists("\(folder)/model/config.json") ? "\(folder)/model" : folder
        }
        guard !folder.hasSuffix(".gguf") else { throw FileError(.missing, path, "there is no such file") }
        guard looksRemote(path), let name = path.split(separator: "/").last else { return folder }
        throw FileError(
            .missing, path,
            "is not a folder here, and sq-train downloads nothing; run hf download \(path) --local-dir \(name)")
    }

    /// A file, or a run's folder with one of this name.
    package static func file(_ path: String, inRun name: String) -> String {
        let inside = "\(path.withoutEndingSlashes)/\(name)"
        return PathKind(path) != .file && exists(inside) ? inside : path
    }

    private static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    /// OWNER/NAME, of letters, digits, dots and dashes, the first no dot.
    private static func looksRemote(_ path: String) -> Bool {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        return parts.count == 2
            && parts.allSatisfy { part in
                !part.isEmpty && part.utf8.first != UInt8(ascii: ".")
                    && part.unicodeScalars.allSatisfy {
                        $0.isASCII && ($0.properties.isAlphabetic || "0123456789._-".unicodeScalars.contains($0))
                    }
            }
    }
}

extension RunConfig {
    /// This configuration with the files that are meant where it names run folders.
    ///
    /// - Throws: see `GivenPath/model(_:)`; `FileError` for a folder without the file that is meant.
    package func resolvingRunFolders() throws -> RunConfig {
        var changed: [String: String] = [:]
        func file(_ path: String, inRun name: String) throws(FileError) -> String {
            let file = GivenPath.file(path, inRun: name)
            guard PathKind(file, followsLinks: true) != .folder else {
                throw FileError(.missing, path, "holds no \(name); give the folder of a run that has made one, or the file")
            }
            return file
        }
        func replace(_ key: String, _ path: String?, by resolved: (String) throws -> String) rethrows {
            guard let path else { return }
            let result = try resolved(path)
            if result != path { changed[key] = result }
        }
        try replace("model.path", model.path) { try GivenPath.model($0) }
        try replace("rotation.path", rotation.path) { try file($0, inRun: RunFiles.rotations) }
        try replace("qat.rotations", qat.rotations) { try file($0, inRun: RunFiles.rotations) }
        try replace("ternary.path", ternary.path) { try file($0, inRun: RunFiles.factors) }
        return try with(changed)
    }
}
