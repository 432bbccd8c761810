internal import Support

/// Where a tensor is in its file.
package struct TensorInfo: Sendable, Equatable {
    package let type: ElementType
    package let shape: [Int]
    /// Bytes of the file, counted from its beginning.
    package let byteRange: Range<Int>

    package var count: Int { shape.reduce(1, *) }
    /// Product of all extents but the first; 1 for a scalar.
    package var rowLength: Int { shape.dropFirst().reduce(1, *) }
}

/// The header of a safetensors file: u64 length N, little-endian, then N bytes of JSON, then the tensors' bytes without a gap.
///
/// Stricter than the format's own reader where that one lets a later duplicate win.
struct SafetensorsHeader {
    static let maximumLength = 100_000_000

    private(set) var tensors: [String: TensorInfo] = [:]
    private(set) var metadata: [String: String] = [:]
    private let path: String

    init(_ file: InputFile) throws(FileError) {
        path = file.path
        guard file.size >= 8 else {
            throw FileError(
                .malformed, path, "has \(file.size) bytes; a safetensors file begins with 8 for its header's length")
        }
        let prefix = try file.bytes(0..<8)
        let length = prefix.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard length <= Self.maximumLength, 8 + Int(length) <= file.size else {
            let rule =
                length <= Self.maximumLength ? "reaches past the end of \(file.size) bytes" : "is above \(Self.maximumLength)"
            let impostor = Impostor(try file.bytes(0..<min(file.size, Impostor.prefix)))
            throw FileError(.malformed, path, impostor?.problem ?? "header length \(length) \(rule)")
        }
        let start = 8 + Int(length)
        let json = try file.bytes(8..<start)
        guard json.first == UInt8(ascii: "{") else {
            throw FileError(.malformed, path, "header does not begin with '{'")
        }
        let root: JSONValue
        do throws(JSONError) {
            root = try JSONValue(parsing: json, depth: 4)
        } catch {
            throw FileError(.malformed, path, "byte \(8 + error.offset): \(error.problem)")
        }
        for (name, entry) in root.object?.members ?? [] {
            if name == "__metadata__" {
                metadata = try Self.metadata(entry, path)
            } else {
                let info = try self.info(name, entry, start: start, size: file.size)
                guard tensors.updateValue(info, forKey: name) == nil else {
                    throw failure(name, "another tensor's name looks the same (it differs only in Unicode normalization)")
                }
            }
        }
        try checkTiling(start: start, size: file.size)
    }

    private func failure(_ name: String, _ problem: String) -> FileError {
        FileError(.malformed, "\(path): tensor \(name)", problem)
    }

    private static func metadata(_ entry: JSONValue, _ path: String) throws(FileError) -> [String: String] {
        guard let object = entry.object else { throw FileError(.malformed, "\(path): __metadata__", "is not an object") }
        var metadata: [String: String] = [:]
        for (key, value) in object.members {
            guard let text = value.string else {
                throw FileError(.malformed, "\(path): __metadata__.\(key)", "is not a string")
            }
            metadata[key] = text
        }
        return metadata
    }

    private func info(
        _ name: String, _ entry: JSONValue, start: Int, size: Int
    ) throws(FileError) -> TensorInfo {
        guard let object = entry.object else { throw failure(name, "its entry is not an object") }
        if let unknown = object.keys.first(where: { !["dtype", "shape", "data_offsets"].contains($0) }) {
            throw failure(name, "unknown key \"\(unknown)\"")
        }
        guard let code = object["dtype"]?.string else { throw failure(name, "dtype is missing or not a string") }
        guard let type = ElementType(rawValue: code) else { throw failure(name, "dtype \"\(code)\" is not supported") }
        guard let shape = object["shape"]?.integers else { throw failure(name, "shape is missing or not a list of integers") }
        guard shape.count <= 64 else { throw failure(name, "has \(shape.count) axes; at most 64 are accepted") }
        guard let count = elementCount(shape) else { throw failure(name, "shape \(shape) is negative or too large") }
        guard let offsets = object["data_offsets"]?.integers, offsets.count == 2 else {
            throw failure(name, "data_offsets is missing or not two integers")
        }
        let (begin, end) = (offsets[0], offsets[1])
        guard 0 <= begin, begin <= end, end <= size - start else {
            throw failure(name, "data_offsets [\(begin), \(end)] are not within the \(size - start) bytes of data")
        }
        guard end - begin == count * type.size else {
            throw failure(name, "\(code) of shape \(shape) needs \(count * type.size) bytes; data_offsets span \(end - begin)")
        }
        return TensorInfo(type: type, shape: shape, byteRange: start + begin..<start + end)
    }

    /// The tensors, in the order of their offsets, must cover the data exactly.
    private func checkTiling(start: Int, size: Int) throws(FileError) {
        var end = start
        let ordered = tensors.sorted {
            ($0.value.byteRange.lowerBound, $0.value.byteRange.upperBound) < (
                $1.value.byteRange.lowerBound, $1.value.byteRange.upperBound
            )
        }
        for (name, info) in ordered {
            let begin = info.byteRange.lowerBound
            guard begin == end else {
                throw failure(
                    name, begin < end ? "overlaps the tensor before it" : "leaves \(begin - end) unused bytes before it")
            }
            end = info.byteRange.upperBound
        }
        guard end == size else { throw FileError(.malformed, path, "\(size - end) bytes follow the last tensor") }
    }
}
