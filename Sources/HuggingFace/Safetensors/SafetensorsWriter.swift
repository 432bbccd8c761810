package import Support
package import TensorCore

extension ElementType {
    /// Why a tensor cannot be written in this type: it has a finite value that F16 cannot hold; nil where it can.
    package func obstacle(to tensor: Tensor) -> String? {
        let largestHalf: Float = 65_519.996
        guard self == .f16, tensor.isFinite, tensor.maxMagnitude > largestHalf else { return nil }
        return "\(tensor.maxMagnitude) is beyond F16's range"
    }
}

extension SafetensorsFile {
    /// Writes a safetensors file, atomically.
    ///
    /// The order is that of the format's own writer: wider types first, then by name. The header is padded with blanks, so
    /// that the data begin at a multiple of 8.
    /// - Parameter hashes: whether to take the file's SHA-256 on the way.
    /// - Returns: the file, committed.
    /// - Throws: an I/O error; what a source's `content` throws; a finite value that F16 cannot hold.
    /// - Precondition: no name twice.
    @discardableResult
    package static func write(
        _ sources: [TensorSource], to path: String, metadata: [String: String] = ["format": "pt"], hashes: Bool = false
    ) throws -> AtomicFile {
        let ordered = sources.sorted {
            ($1.type.size, $0.type.rawValue, $0.name) < ($0.type.size, $1.type.rawValue, $1.name)
        }
        let file = try AtomicFile(path, hashes: hashes)
        try file.write(header(ordered, metadata))
        for source in ordered {
            let start = file.count
            switch try source.content() {
            case .floats(let tensor): try write(tensor, as: source.type, named: source.name, to: file)
            case .integers(let integers):
                for start in stride(from: 0, to: integers.count, by: chunk) {
                    try file.write(source.type.encode(integers[start..<min(start + chunk, integers.count)]))
                }
            case .bytes(let bytes): try file.write(bytes)
            }
            precondition(
                file.count - start == source.byteCount,
                "\(source.name): \(file.count - start) bytes do not fill \(source.type) \(source.shape)")
        }
        try file.commit()
        return file
    }

    /// Elements converted at a time.
    private static let chunk = 1 << 18

    /// - Throws: ``FileError`` where a finite value is one that F16 cannot hold.
    package static func checkRange(
        of tensor: Tensor, as type: ElementType, named name: String, in path: String
    ) throws(FileError) {
        guard let obstacle = type.obstacle(to: tensor) else { return }
        throw FileError(
            .malformed, "\(path): tensor \(name)",
            "\(obstacle); store it as BF16 or F32 (model.dtype of a run, --dtype of export)")
    }

    /// Appends a tensor's elements as F32, F16 or BF16.
    ///
    /// - Throws: ``FileError``: an I/O error; a finite value that F16 cannot hold.
    package static func write(
        _ tensor: Tensor, as type: ElementType, named name: String, to file: AtomicFile
    ) throws(FileError) {
        try checkRange(of: tensor, as: type, named: name, in: file.path)
        for start in stride(from: 0, to: tensor.count, by: chunk) {
            let count = min(chunk, tensor.count - start)
            // As they are in memory: this program runs on machines that keep the lowest byte first.
            if type == .f32 {
                try file.write(UnsafeRawBufferPointer(UnsafeBufferPointer(start: tensor.pointer + start, count: count)))
            } else {
                try file.write(type.narrow(tensor.pointer + start, count: count))
            }
        }
    }

    private static func header(_ sources: [TensorSource], _ metadata: [String: String]) -> [UInt8] {
        var root = JSONObject()
        if !metadata.isEmpty {
            var entries = JSONObject()
            for (key, value) in metadata.sorted(by: { $0.key < $1.key }) { entries[key] = .string(value) }
            root["__metadata__"] = .object(entries)
        }
        var offset = 0
        for source in sources {
            let end = offset + source.byteCount
            let entry: JSONValue = [
                "dtype": .string(source.type.rawValue), "shape": .array(source.shape.map(JSONValue.integer)),
                "data_offsets": [.integer(offset), .integer(end)],
            ]
            precondition(root.insert(source.name, entry), "tensor \(source.name) twice")
            offset = end
        }
        var json = Array(JSONValue.object(root).text(.compact, sortedKeys: false).utf8)
        json += Array(repeating: UInt8(ascii: " "), count: (8 - json.count % 8) % 8)
        return withUnsafeBytes(of: UInt64(json.count).littleEndian, Array.init) + json
    }
}
