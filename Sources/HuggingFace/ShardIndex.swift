internal import Glibc
internal import Support

/// `model.safetensors.index.json`: which shard holds which tensor.
struct ShardIndex {
    /// File names, sorted.
    let shards: [String]
    /// Positions in `shards`.
    let locations: [String: Int]
    private let path: String

    init(_ path: String) throws(FileError) {
        self.path = path
        guard let map = try InputFile.json(path, depth: 4)["weight_map"]?.object else {
            throw FileError(.malformed, "\(path): weight_map", "is missing or not an object")
        }
        var shardOf: [String: String] = [:]
        for (tensor, value) in map.members {
            guard let shard = value.string else {
                throw FileError(.malformed, "\(path): weight_map.\(tensor)", "is not a file name")
            }
            guard Self.isPlainName(shard) else {
                throw FileError(
                    .malformed, "\(path): weight_map.\(tensor)",
                    "\"\(shard)\" is refused: a shard is a .safetensors file of the same folder, named without slashes")
            }
            shardOf[tensor] = shard
        }
        guard !shardOf.isEmpty else { throw FileError(.malformed, "\(path): weight_map", "is empty") }
        let shards = Set(shardOf.values).sorted()
        let positions = Dictionary(uniqueKeysWithValues: zip(shards, shards.indices))
        self.shards = shards
        locations = shardOf.compactMapValues { positions[$0] }
    }

    private static func isPlainName(_ name: String) -> Bool {
        name.hasSuffix(".safetensors") && !name.hasPrefix(".")
            && !name.utf8.contains { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "\\") || $0 < 0x20 }
    }

    /// Opens all shards and checks that they hold exactly the tensors that the index lists.
    func open(in folder: String) throws(FileError) -> [SafetensorsFile] {
        var files: [SafetensorsFile] = []
        for shard in shards {
            let shardPath = folder + "/" + shard
            try refuseLinkOut(of: folder, shardPath)
            files.append(try SafetensorsFile(shardPath))
        }
        for (tensor, location) in locations where files[location].tensors[tensor] == nil {
            throw FileError(.malformed, "\(path): weight_map.\(tensor)", "\(shards[location]) holds no such tensor")
        }
        for (location, file) in files.enumerated() {
            if let stray = file.names.first(where: { locations[$0] != location }) {
                throw FileError(.malformed, "\(file.path): tensor \(stray)", "is not assigned to this shard by \(path)")
            }
        }
        return files
    }

    /// A link may lead to a file of the folder, or of the store of the cache that the folder is in; where else it led, the
    /// index would decide which of the user's files is read.
    private func refuseLinkOut(of folder: String, _ shardPath: String) throws(FileError) {
        guard PathKind(shardPath) == .link else { return }
        guard let target = resolvedPath(shardPath), let root = resolvedPath(folder) else {
            throw FileError(.missing, shardPath, "is a link to nothing; download the model again")
        }
        let isWithin = target.utf8.starts(with: (root == "/" ? root : root + "/").utf8)
        guard isWithin || Self.store(ofSnapshot: root).map({ target.utf8.starts(with: ($0 + "/").utf8) }) ?? false else {
            throw FileError(
                .malformed, shardPath,
                "is a link that leaves the folder (only a Hugging Face cache's snapshots/ may link to its blobs/); copy the "
                    + "file there instead")
        }
    }

    /// A Hugging Face cache keeps a repository's files in `blobs/`, and in `snapshots/REVISION/` links to them: the real path
    /// of the former for a real path at or below the latter.
    private static func store(ofSnapshot folder: String) -> String? {
        let parts = folder.split(separator: "/", omittingEmptySubsequences: false)
        guard let snapshots = parts.dropLast().lastIndex(of: "snapshots") else { return nil }
        let store = parts[..<snapshots].joined(separator: "/") + "/blobs"
        return PathKind(store) == .folder ? resolvedPath(store) : nil
    }
}

/// The path without links; nil if it names nothing.
