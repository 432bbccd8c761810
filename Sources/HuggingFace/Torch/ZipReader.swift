internal import Support

/// The directory of a ZIP archive whose entries are stored, not compressed, as `torch.save` writes them; with ZIP64.
///
/// Only what the central directory lists exists. Every entry's range is checked against the file and against its neighbors.
struct ZipReader {
    struct Entry: Equatable {
        let range: Range<Int>
        let checksum: UInt32
    }

    let entries: [String: Entry]
    let file: InputFile

    private static let endSize = 22
    private static let largestDirectory = 64 << 20

    init(_ file: InputFile) throws(FileError) {
        self.file = file
        let directory = try Self.directory(file)
        let bytes = try file.bytes(directory.range)
        var entries: [String: Entry] = [:]
        var position = 0
        for _ in 0..<directory.count {
            let record = try Self.record(bytes, at: &position, file)
            let entry = try Self.locate(record, in: file, before: directory.range.lowerBound)
            guard entries.updateValue(entry, forKey: record.name) == nil else {
                throw Self.failure(file, "\(record.name) is listed twice")
            }
        }
        guard position == bytes.count else { throw Self.failure(file, "the ZIP directory is longer than its entries") }
        let ordered = entries.sorted { $0.value.range.lowerBound < $1.value.range.lowerBound }
        for (a, b) in zip(ordered, ordered.dropFirst()) where a.value.range.upperBound > b.value.range.lowerBound {
            throw Self.failure(file, "\(a.key) and \(b.key) overlap")
        }
        self.entries = entries
    }

    /// An entry's bytes, its checksum verified.
    func contents(_ name: String) throws(FileError) -> [UInt8] {
        let entry = try entry(name)
        let bytes = try file.bytes(entry.range)
        guard CRC32.of(bytes) == entry.checksum else { throw Self.failure(file, "\(name) does not match its checksum") }
        return bytes
    }

    /// Verifies an entry's checksum without holding it in memory.
    func verify(_ name: String) throws(FileError) {
        let entry = try entry(name)
        var crc = CRC32()
        for start in stride(from: entry.range.lowerBound, to: entry.range.upperBound, by: 1 << 20) {
            crc.update(try file.bytes(start..<min(start + 1 << 20, entry.range.upperBound)))
        }
        guard crc.value == entry.checksum else { throw Self.failure(file, "\(name) does not match its checksum") }
    }

    private func entry(_ name: String) throws(FileError) -> Entry {
        guard let entry = entries[name] else { throw Self.failure(file, "\(name) is missing") }
        return entry
    }

    private static func failure(_ file: InputFile, _ problem: String) -> FileError {
        FileError(.malformed, file.path, problem)
    }

    /// Finds the end record (22 bytes and a comment of at most 65,535), and through it the central directory.
    private static func directory(_ file: InputFile) throws(FileError) -> (range: Range<Int>, count: Int) {
        let tailStart = max(0, file.size - endSize - 0xFFFF)
        let tail = try file.bytes(tailStart..<file.size)
        let candidates = stride(from: tail.count - endSize, through: 0, by: -1)
        let found = candidates.first { tail.u32($0) == 0x0605_4B50 && tail.u16($0 + 20) == tail.count - $0 - endSize }
        guard let end = found, var count = tail.u16(end + 10), var size = tail.u32(end + 12), var start = tail.u32(end + 16)
        else {
            throw failure(file, "is not a ZIP archive; files of torch.save (version 1.6 or later) are")
        }
        if count == 0xFFFF || size == 0xFFFF_FFFF || start == 0xFFFF_FFFF {
            guard tail.u32(end - 20) == 0x0706_4B50, let wide = tail.u64(end - 12), wide <= file.size - 56 else {
                throw failure(file, "the ZIP64 end record is missing")
            }
            let record = try file.bytes(wide..<wide + 56)
            guard record.u32(0) == 0x0606_4B50, let n = record.u64(32), let s = record.u64(40), let o = record.u64(48) else {
                throw failure(file, "the ZIP64 end record is damaged")
            }
            (count, size, start) = (n, s, o)
        }
        guard size <= largestDirectory, start <= file.size - size else {
            throw failure(file, "the ZIP directory (\(size) bytes at \(start)) is not within the file")
        }
        return (start..<start + size, count)
    }

    private struct Record {
        let name: String
        let size: Int
        let headerOffset: Int
        let checksum: UInt32
    }

    private static func record(_ bytes: [UInt8], at position: inout Int, _ file: InputFile) throws(FileError) -> Record {
        let at = position
        guard bytes.u32(at) == 0x0201_4B50, let flags = bytes.u16(at + 8), let method = bytes.u16(at + 10),
            let checksum = bytes.unsigned(UInt32.self, at: at + 16), let stored = bytes.u32(at + 20),
            var size = bytes.u32(at + 24),
            let nameLength = bytes.u16(at + 28), let extraLength = bytes.u16(at + 30), let commentLength = bytes.u16(at + 32),
            var offset = bytes.u32(at + 42), at + 46 + nameLength + extraLength + commentLength <= bytes.count
        else { throw failure(file, "the ZIP directory is damaged") }
        let nameEnd = at + 46 + nameLength
        guard let name = String(validating: bytes[at + 46..<nameEnd], as: UTF8.self) else {
            throw failure(file, "an entry's name is not UTF-8")
        }
        guard method == 0, flags & 1 == 0, stored == size else {
            throw failure(file, "\(name) is compressed or encrypted; torch.save stores entries as they are")
        }
        if size == 0xFFFF_FFFF || offset == 0xFFFF_FFFF {
            (size, offset) = try wideFields(Array(bytes[nameEnd..<nameEnd + extraLength]), size, offset, name, file)
        }
        position = nameEnd + extraLength + commentLength
        return Record(name: name, size: size, headerOffset: offset, checksum: checksum)
    }

    /// The ZIP64 extra field holds, in this order and only where the narrow field is full: size, stored size, offset.
    private static func wideFields(
        _ extra: [UInt8], _ size: Int, _ offset: Int, _ name: String, _ file: InputFile
    ) throws(FileError) -> (Int, Int) {
        var position = 0
        while let id = extra.u16(position), let length = extra.u16(position + 2) {
            guard id == 1 else {
                position += 4 + length
                continue
            }
            let sizeBytes = size == 0xFFFF_FFFF ? 16 : 0
            let wideSize = sizeBytes > 0 ? extra.u64(position + 4) : size
            let wideStored = sizeBytes > 0 ? extra.u64(position + 12) : size
            let wideOffset = offset == 0xFFFF_FFFF ? extra.u64(position + 4 + sizeBytes) : offset
            guard let wideSize, let wideOffset, wideSize == wideStored else { break }
            return (wideSize, wideOffset)
        }
        throw failure(file, "\(name) lacks its ZIP64 sizes")
    }

    /// The entry's bytes follow its local header, whose extra field may differ from the directory's (it holds the padding).
    private static func locate(
        _ record: Record, in file: InputFile, before limit: Int
    ) throws(FileError) -> Entry {
        guard record.headerOffset <= limit - 30 else { throw failure(file, "\(record.name) begins outside the file") }
        let header = try file.bytes(record.headerOffset..<record.headerOffset + 30)
        guard header.u32(0) == 0x0403_4B50, let nameLength = header.u16(26), let extraLength = header.u16(28) else {
            throw failure(file, "\(record.name) has no local header")
        }
        let start = record.headerOffset + 30 + nameLength + extraLength
        guard start <= limit, record.size <= limit - start else {
            throw failure(file, "\(record.name) reaches outside the file")
        }
        return Entry(range: start..<start + record.size, checksum: record.checksum)
    }
}
