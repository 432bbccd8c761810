internal import HuggingFace
internal import Support

/// The header of a GGUF file, version 3: magic, counts, values by key, and where each tensor is.
///
/// Every count and length is held against the bytes that are left before anything is made of it.
struct GGUFHeader {
    static let magic = Array("GGUF".utf8)
    static let version: UInt32 = 3
    static let alignmentKey = "general.alignment"
    static let defaultAlignment = 32
    /// No file's keys and names take more; keeps a hostile one from filling the memory.
    static let largest = 128 << 20
    /// What ggml holds of a name.
    static let longestName = 63
    static let mostAxes = 4

    private(set) var values: [(key: String, value: GGUFValue)] = []
    private(set) var tensors: [GGUFTensorInfo] = []
    /// Tensors' data begin at multiples of it.
    private(set) var alignment = GGUFHeader.defaultAlignment
    /// A tensor as the header gives it.
    private typealias Entry = (name: String, place: Int, shape: [Int], encoding: GGUFEncoding, offset: UInt64)

    init(_ file: InputFile) throws(FileError) {
        var cursor = GGUFCursor(file, limit: min(file.size, Self.largest))
        try Self.readBeginning(&cursor, file)
        let tensorCount = try cursor.count(of: "tensors", leastSize: 8 + 4 + 8 + 4 + 8)
        let valueCount = try cursor.count(of: "values", leastSize: 8 + 4 + 1)
        var keys = Set<String>()
        for _ in 0..<valueCount {
            let place = cursor.offset
            let key = try cursor.string("a key")
            guard !key.isEmpty else { throw cursor.failure(at: place, "a key is empty") }
            guard keys.insert(key).inserted else { throw cursor.failure(at: place, "the key \(key) occurs twice") }
            values.append((key, try cursor.value(of: key)))
        }
        try readAlignment(cursor)
        var entries: [Entry] = []
        var names = Set<String>()
        for _ in 0..<tensorCount {
            let entry = try Self.entry(&cursor)
            guard names.insert(entry.name).inserted else {
                throw cursor.failure(at: entry.place, "tensor \(entry.name) occurs twice")
            }
            entries.append(entry)
        }
        try place(entries, cursor)
    }

    private static func readBeginning(_ cursor: inout GGUFCursor, _ file: InputFile) throws(FileError) {
        guard file.size >= 24 else {
            throw cursor.failure(at: file.size, "the file ends; a GGUF file begins with 24 bytes of magic, version and counts")
        }
        let beginning = try file.bytes(0..<4)
        guard beginning == magic else { throw cursor.failure(at: 0, "is not a GGUF file: it does not begin with \"GGUF\"") }
        cursor.skip(4)
        let version = try cursor.integer(UInt32.self)
        guard version == Self.version else {
            throw cursor.failure(
                at: 4,
                version == Self.version.byteSwapped
                    ? "is big-endian, which is not supported" : "is GGUF version \(version); only version 3 is supported")
        }
    }

    private mutating func readAlignment(_ cursor: GGUFCursor) throws(FileError) {
        guard let value = values.first(where: { $0.key == Self.alignmentKey })?.value else { return }
        guard case .uint32(let alignment) = value, (1...1 << 16).contains(alignment), alignment.nonzeroBitCount == 1 else {
            throw FileError(
                .malformed, "\(cursor.path): \(Self.alignmentKey)",
                "is not a power of two up to 65536, as an unsigned 32-bit integer")
        }
        self.alignment = Int(alignment)
    }

    private static func entry(_ cursor: inout GGUFCursor) throws(FileError) -> Entry {
        let place = cursor.offset
        let name = try cursor.string("a tensor's name")
        guard (1...longestName).contains(name.utf8.count) else {
            throw cursor.failure(at: place, "a tensor's name has \(name.utf8.count) bytes; 1 to \(longestName) are accepted")
        }
        func failure(_ problem: String) -> FileError { cursor.failure(at: place, "tensor \(name): \(problem)") }
        let axes = try cursor.integer(UInt32.self)
        guard (1...UInt32(mostAxes)).contains(axes) else { throw failure("has \(axes) axes; 1 to \(mostAxes) are accepted") }
        var shape: [Int] = []
        for _ in 0..<axes {
            let extent = try cursor.integer(UInt64.self)
            guard (1...UInt64(Int32.max)).contains(extent) else {
                throw failure("an extent of \(extent) is not between 1 and \(Int32.max)")
            }
            shape.append(Int(extent))
        }
        let code = try cursor.integer(UInt32.self)
        guard let encoding = GGUFEncoding(rawValue: code) else {
            let known = GGUFEncoding.allCases.map(\.name).joined(separator: ", ")
            throw failure(
                "has the type \(GGUFEncoding.others[code] ?? String(code)), which is not supported; supported are \(known)")
        }
        guard shape[0] % encoding.blockLength == 0 else {
            throw failure("rows of \(shape[0]) do not divide into the blocks of \(encoding.blockLength) of \(encoding.name)")
        }
        return (name, place, shape.reversed(), encoding, try cursor.integer(UInt64.self))
    }

    /// The tensors, in the order of the header, must cover the data: each begins at the next multiple of the alignment.
    private mutating func place(_ entries: [Entry], _ cursor: GGUFCursor) throws(FileError) {
        let start = padded(cursor.offset)
        guard start <= cursor.fileSize || entries.isEmpty else {
            throw cursor.failure(at: cursor.fileSize, "the file ends before the tensors' data")
        }
        var end = start
        for entry in entries {
            func failure(_ problem: String) -> FileError {
                cursor.failure(at: entry.place, "tensor \(entry.name): \(problem)")
            }
            let begin = padded(end)
            guard entry.offset == UInt64(begin - start) else {
                throw failure("begins at \(entry.offset) of the data; the tensors before it end there at \(begin - start)")
            }
            // Four extents below 2³¹ may overflow; each partial product is held against the file.
            var count = 1
            for extent in entry.shape {
                let (product, overflow) = count.multipliedReportingOverflow(by: extent)
                guard !overflow, product / 8 <= cursor.fileSize else {
                    throw failure("shape \(entry.shape) is larger than the file")
                }
                count = product
            }
            let size = entry.encoding.size(of: count)
            guard size <= cursor.fileSize - begin else {
                throw failure("needs \(size) bytes from byte \(begin) on; the file ends at \(cursor.fileSize)")
            }
            end = begin + size
            tensors.append(
                GGUFTensorInfo(name: entry.name, encoding: entry.encoding, shape: entry.shape, byteRange: begin..<end))
        }
        guard cursor.fileSize <= padded(end) else {
            throw cursor.failure(at: end, "\(cursor.fileSize - end) bytes follow the last tensor")
        }
    }

    private func padded(_ offset: Int) -> Int { (offset + alignment - 1) / alignment * alignment }
}

/// Where a tensor is in its file.
package struct GGUFTensorInfo: Sendable, Equatable {
    package let name: String
    package let encoding: GGUFEncoding
    /// Slowest extent first, as everywhere here; the file has them the other way round.
    package let shape: [Int]
    /// Bytes of the file, counted from its beginning.
    package let byteRange: Range<Int>

    package var count: Int { shape.reduce(1, *) }
}
