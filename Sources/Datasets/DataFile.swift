internal import Foundation
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
        if let disguise = Disguise(content) { throw DataError.notText(path: path, disguise) }
        sha256 = Support.sha256(of: content)
        bytes = Array(content.withoutByteOrderMark)
    }
}

/// Something else than text in a file that is named like text.
package enum Disguise: Equatable, Sendable {
    case gitLFSPointer
    case webPage
    /// UTF-16 or UTF-32, with or without a byte-order mark.
    case wideText(String)
    case compressed(String)

    /// nil for what may be UTF-8 text.
    init?(_ content: [UInt8]) {
        let marks: [([UInt8], Disguise)] = [
            ([0xFF, 0xFE, 0, 0], .wideText("UTF-32")), ([0, 0, 0xFE, 0xFF], .wideText("UTF-32")),
            ([0xFF, 0xFE], .wideText("UTF-16")), ([0xFE, 0xFF], .wideText("UTF-16")),
            ([0x1F, 0x8B], .compressed("gzip")), ([0x28, 0xB5, 0x2F, 0xFD], .compressed("zstd")),
            (Array("PK\u{3}\u{4}".utf8), .compressed("zip")), (Array("PAR1".utf8), .compressed("parquet")),
            (Array("version https://git-lfs.github.com/spec/".utf8), .gitLFSPointer),
        ]
        if let found = marks.first(where: { content.holds($0.0) }) {
            self = found.1
            return
        }
        let head = content.prefix(Self.headLength)
        let blanks: Set<UInt8> = [0x20, 0x09, 0x0A, 0x0D, 0xEF, 0xBB, 0xBF]
        let first = String(decoding: head.drop { blanks.contains($0) }, as: UTF8.self).lowercased()
        if first.hasPrefix("<!doctype html") || first.hasPrefix("<html") {
            self = .webPage
        } else if 4 * head.count(where: { $0 == 0 }) > head.count {
            self = .wideText("UTF-16")
        } else {
            return nil
        }
    }

    /// Enough to tell one alphabet's UTF-16, half of which is zeros.
    private static let headLength = 4096

    var description: String {
        switch self {
        case .gitLFSPointer: "is a Git LFS pointer, not the text itself; fetch the text: git lfs pull"
        case .webPage: "is an HTML page, not text; download the file itself"
        case .wideText(let encoding): "is \(encoding), not UTF-8; convert it: iconv -f \(encoding) -t UTF-8"
        case .compressed(let kind): "is a \(kind) file, not text; unpack it"
        }
    }
}

extension [UInt8] {
    fileprivate func holds(_ prefix: [UInt8]) -> Bool { starts(with: prefix) }
}
