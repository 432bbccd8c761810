internal import Support

extension Checkpoint {
    /// Of every file of weights: the layout that transformers asks for, and who has written it.
    package static let ownMetadata = ["format": "pt", ProgramVersion.key: ProgramVersion.name]

    /// Writes a model's weights into a folder: one file, or shards of at most `maximumShardSize` bytes each (a larger tensor
    /// gets a shard of its own) with their index.
    ///
    /// - Parameters:
    ///   - sources: in the order in which they are dealt to shards.
    ///   - metadata: of every file.
    package static func write(
        _ sources: [TensorSource], to folder: String, maximumShardSize: Int = 5_000_000_000,
        metadata: [String: String] = ownMetadata
    ) throws {
        let shards = divide(sources, maximumShardSize)
        if shards.count <= 1 {
            try SafetensorsFile.write(sources, to: folder + "/" + singleName, metadata: metadata)
            return
        }
        for (index, shard) in shards.enumerated() {
            try writeShard(shard, index, of: shards.count, to: folder, metadata: metadata)
        }
        let total = sources.reduce(0) { $0 + $1.byteCount }
        try writeIndex(shards.map { $0.map(\.name) }, totalSize: total, to: folder)
    }

    /// Writes one shard, counted from 0, of several.
    package static func writeShard(
        _ sources: [TensorSource], _ index: Int, of count: Int, to folder: String,
        metadata: [String: String] = ownMetadata
    ) throws {
        try SafetensorsFile.write(sources, to: folder + "/" + shardName(index, of: count), metadata: metadata)
    }

    /// Writes the index of the shards' tensors.
    ///
    /// - Parameters:
    ///   - shards: the names of each shard's tensors.
    ///   - totalSize: bytes of all tensors.
    package static func writeIndex(_ shards: [[String]], totalSize: Int, to folder: String) throws {
        var weightMap = JSONObject()
        for (index, names) in shards.enumerated() {
            let shard = JSONValue.string(shardName(index, of: shards.count))
            for name in names { precondition(weightMap.insert(name, shard), "tensor \(name) twice") }
        }
        let index: JSONValue = [
            "metadata": ["total_size": .integer(totalSize), ProgramVersion.key: .string(ProgramVersion.name)],
            "weight_map": .object(weightMap),
        ]
        try AtomicFile.write(index.text() + "\n", to: folder + "/" + indexName)
    }

    /// The same index of shards that are written already, by whatever process.
    package static func writeIndex(ofShards count: Int, in folder: String) throws {
        let shards = try (0..<count).map { try SafetensorsFile(folder + "/" + shardName($0, of: count)).tensors }
        let bytes = shards.joined().reduce(0) { $0 + $1.value.byteRange.count }
        try writeIndex(shards.map { $0.keys.sorted() }, totalSize: bytes, to: folder)
    }

    private static func shardName(_ index: Int, of count: Int) -> String {
        "model-\(fiveDigits(index + 1))-of-\(fiveDigits(count)).safetensors"
    }

    private static func divide(_ sources: [TensorSource], _ limit: Int) -> [[TensorSource]] {
        var shards: [[TensorSource]] = []
        var size = 0
        for source in sources {
            if shards.isEmpty || size + source.byteCount > limit {
                shards.append([])
                size = 0
            }
            shards[shards.count - 1].append(source)
            size += source.byteCount
        }
        return shards
    }

    private static func fiveDigits(_ number: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, 5 - digits.count)) + digits
    }
}
