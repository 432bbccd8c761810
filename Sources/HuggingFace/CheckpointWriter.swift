extension Checkpoint {
    /// Writes a model's weights into a folder: one file, or shards of at most `maximumShardSize` bytes each (a larger tensor
    /// gets a shard of its own) with their index.
    ///
    /// - Parameter sources: in the order in which they are dealt to shards.
    package static func write(
        _ sources: [TensorSource], to folder: String, maximumShardSize: Int = 5_000_000_000
    ) throws {
        let shards = divide(sources, maximumShardSize)
        if shards.count <= 1 {
            try SafetensorsFile.write(sources, to: folder + "/" + singleName)
            return
        }
        var weightMap = JSONObject()
        for (index, shard) in shards.enumerated() {
            let name = "model-\(fiveDigits(index + 1))-of-\(fiveDigits(shards.count)).safetensors"
            try SafetensorsFile.write(shard, to: folder + "/" + name)
            for source in shard { precondition(weightMap.insert(source.name, .string(name)), "tensor \(source.name) twice") }
        }
        let total = sources.reduce(0) { $0 + $1.byteCount }
        let index: JSONValue = ["metadata": ["total_size": .integer(total)], "weight_map": .object(weightMap)]
        try AtomicFile.write(index.text() + "\n", to: folder + "/" + indexName)
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
