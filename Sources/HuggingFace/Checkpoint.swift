package import Support
package import TensorCore

/// The weights of a Hugging Face folder: `model.safetensors`, or shards named by `model.safetensors.index.json`.
package struct Checkpoint: Sendable {
    package let folder: String
    /// All tensors' names, sorted.
    package let names: [String]
    /// Which of `files` holds a tensor.
    private let locations: [String: Int]
    private let files: [SafetensorsFile]

    static let singleName = "model.safetensors"
    static let indexName = "model.safetensors.index.json"

    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` names.
    ///
    /// - Throws: ``FileError`` where there is neither, or a file breaks a rule of its format.
    package init(_ folder: String) throws(FileError) {
        self.folder = folder
        let single = folder + "/" + Self.singleName
        let index = folder + "/" + Self.indexName
        if PathKind(single) != .absent {
            files = [try SafetensorsFile(single)]
            locations = files[0].tensors.mapValues { _ in 0 }
        } else if PathKind(index) != .absent {
            let map = try ShardIndex(index)
            files = try map.open(in: folder)
            locations = map.locations
        } else {
            throw FileError(
                .missing, folder, "holds neither \(Self.singleName) nor \(Self.indexName); is it a Hugging Face model folder?")
        }
        names = locations.keys.sorted()
    }

    /// Whether there is a tensor of this name.
    package func contains(_ name: String) -> Bool { locations[name] != nil }

    /// A tensor's type, shape and place in its shard.
    ///
    /// - Throws: `FileError` where no tensor has this name.
    package func info(_ name: String) throws(FileError) -> TensorInfo { try file(of: name).info(name) }

    /// The tensor as float32. NaN and infinity are refused: they are in no useful model, and spread through everything.
    package func read(_ name: String, rows: Range<Int>? = nil) throws(FileError) -> Tensor {
        try file(of: name).readFloat(name, rows: rows, finite: true)
    }

    /// The tensor as float32, if it has the shape expected.
    package func read(_ name: String, shape: [Int]) throws(FileError) -> Tensor {
        let file = try file(of: name)
        let found = try file.info(name).shape
        guard found == shape else {
            throw FileError(
                .malformed, "\(file.path): tensor \(name)", "has shape \(found); the configuration says \(shape)")
        }
        return try file.readFloat(name, finite: true)
    }

    /// The file a tensor is in.
    package func file(of name: String) throws(FileError) -> SafetensorsFile {
        guard let location = locations[name] else { throw FileError(.malformed, folder, "tensor \(name) is missing") }
        return files[location]
    }
}
