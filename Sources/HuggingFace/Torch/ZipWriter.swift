internal import Support

/// Writes a ZIP archive of stored entries, each beginning at a multiple of 64 bytes as in files of `torch.save`.
struct ZipWriter {
    static let alignment = 64
    private static let limit = 0xFFFF_FFFF
    private static let namesAreUTF8 = 0x800
    /// The first of January, the earliest date the format knows: files of equal content are equal.
    private static let dateOf1980 = 0x21

    private let file: AtomicFile
    private let root: String
    private var directory: [UInt8] = []
    private var checksums: [UInt32] = []

    init(_ file: AtomicFile, root: String) {
        self.file = file
        self.root = root
    }

    /// 40 digits that depend on the content so far, as PyTorch's serialization id does.
    var contentDigest: [UInt8] {
        let digits = checksums.reduce(UInt64(0)) { ($0 << 7 | $0 >> 57) ^ UInt64($1) }.description
        return Array((String(repeating: "0", count: 40 - digits.count) + digits).utf8)
    }

    /// Adds the entry `<root>/<name>`.
    mutating func add(_ name: String, _ content: [UInt8]) throws(FileError) {
        let path = Array("\(root)/\(name)".utf8)
        let offset = file.count
        let checksum = CRC32.of(content)
        // An extra field: its id "FB", its length, and that many letters Z.
        let unaligned = offset + 30 + path.count + 4
        let padding = (Self.alignment - unaligned % Self.alignment) % Self.alignment
        guard unaligned + padding + content.count < Self.limit else {
            throw FileError(
                .malformed, file.path, "would be larger than 4 GiB; the .safetensors file holds the same tensors")
        }
        var fields: [UInt8] = []
        for half in [20, Self.namesAreUTF8, 0, 0, Self.dateOf1980] { fields.append(littleEndian: UInt16(half)) }
        for word in [checksum, UInt32(content.count), UInt32(content.count)] { fields.append(littleEndian: word) }
        fields.append(littleEndian: UInt16(path.count))

        var local = Array("PK\u{3}\u{4}".utf8) + fields
        local.append(littleEndian: UInt16(padding + 4))
        local += path + Array("FB".utf8)
        local.append(littleEndian: UInt16(padding))
        local += Array(repeating: UInt8(ascii: "Z"), count: padding)
        try file.write(local)
        try file.write(content)

        directory += Array("PK\u{1}\u{2}".utf8) + [20, 0] + fields
        directory += Array(repeating: 0, count: 12)  // extra field, comment, disk, attributes
        directory.append(littleEndian: UInt32(offset))
        directory += path
        checksums.append(checksum)
    }

    /// Writes the directory and puts the file in place.
    func finish() throws(FileError) {
        let start = file.count
        guard start + directory.count < Self.limit, checksums.count < 0xFFFF else {
            throw FileError(
                .malformed, file.path, "would be larger than 4 GiB; the .safetensors file holds the same tensors")
        }
        var end = Array("PK\u{5}\u{6}".utf8) + [0, 0, 0, 0]
        for _ in 0..<2 { end.append(littleEndian: UInt16(checksums.count)) }
        end.append(littleEndian: UInt32(directory.count))
        end.append(littleEndian: UInt32(start))
        end += [0, 0]
        try file.write(directory)
        try file.write(end)
        try file.commit()
    }
}
