internal import Support

/// A file of text or tokens, found by its path and known by its ending, whose case does not matter.
struct DataFile {
    enum Format: String, CaseIterable {
        case text = ".txt"
        case jsonLines = ".jsonl"
        case tokens = ".safetensors"
    }

    let path: String
    let format: Format
    /// Of the bytes in the file, hexadecimal.
    let sha256: String
    /// What a text file holds, without a byte-order mark; of tokens nothing.
    let bytes: [UInt8]

    /// The largest text accepted, in bytes: it and its tokens are held in memory.
    static let textLimit = 1 << 30

    /// - Throws: ``FileError`` where there is no such file or it cannot be read, before its ending is looked at;
    ///   ``DataError`` for another ending, too much text, and files that are something else than text.
    init(_ path: String) throws {
        let file = try InputFile(path)
        let name = path.lowercased()
        guard let format = Format.allCases.first(where: { name.hasSuffix($0.rawValue) }) else {
            throw DataError.unknownFormat(path: path)
        }
        self.path = path
        self.format = format
        guard format != .tokens else {
            bytes = []
            sha256 = try file.sha256()
            return
        }
        guard file.size <= Self.textLimit else {
            throw DataError.tooLarge(path: path, bytes: file.size, limit: Self.textLimit)
        }
        let content = try file.bytes(0..<file.size)
        if let impostor = Impostor(text: content) { throw DataError.notText(path: path, impostor) }
        sha256 = Support.sha256(of: content)
        bytes = Array(content.withoutByteOrderMark)
    }
}
