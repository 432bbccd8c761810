/// What a file is, by its first bytes, that should be another: downloads that went wrong, and files of another kind.
package enum Impostor: Equatable, Sendable {
    case gitLFSPointer
    case webPage
    case serverMessage
    /// UTF-16 or UTF-32.
    case wideText(String)
    case markedUTF8
    /// In this format.
    case compressed(String)

    /// Bytes of a file's beginning that are looked at: enough to tell one alphabet's UTF-16, half of which is zeros.
    package static let prefix = 4096

    /// What no file of a model begins with.
    private static let marks: [(beginning: [UInt8], impostor: Impostor)] = [
        ([0xFF, 0xFE, 0, 0], .wideText("UTF-32")), ([0, 0, 0xFE, 0xFF], .wideText("UTF-32")),
        ([0xFF, 0xFE], .wideText("UTF-16")), ([0xFE, 0xFF], .wideText("UTF-16")), ([0x1F, 0x8B], .compressed("gzip")),
        ([0x28, 0xB5, 0x2F, 0xFD], .compressed("zstd")),
        (Array("version https://git-lfs.github.com/".utf8), .gitLFSPointer),
    ]
    /// What no text begins with besides.
    private static let textMarks: [(beginning: [UInt8], impostor: Impostor)] = [
        (Array("PK\u{3}\u{4}".utf8), .compressed("zip")), (Array("PAR1".utf8), .compressed("parquet")),
    ]
    private static let pages = ["<!doctype html", "<html"]
    /// What texts may begin with, too.
    private static let (morePages, messages) = (
        ["<!doctype", "<head", "<?xml", "<!--"],
        ["entry not found", "repository not found", "invalid username or password", "access to model"]
    )

    /// - Returns: nil for what may be JSON, weights or an archive.
    package init?(_ beginning: some Collection<UInt8>) {
        let bytes = Array(beginning.prefix(Self.prefix))
        let text = Self.words(bytes[...])
        if let mark = Self.marks.first(where: { bytes.starts(with: $0.beginning) }) {
            self = mark.impostor
        } else if bytes.withoutByteOrderMark.count < bytes.count {
            self = .markedUTF8
        } else if (Self.pages + Self.morePages).contains(where: text.hasPrefix) {
            self = .webPage
        } else if Self.messages.contains(where: text.hasPrefix) {
            self = .serverMessage
        } else {
            return nil
        }
    }

    /// - Returns: nil for what may be UTF-8 text, with or without a byte-order mark.
    package init?(text: some Collection<UInt8>) {
        let bytes = Array(text.prefix(Self.prefix))
        let words = Self.words(bytes.withoutByteOrderMark)
        if let mark = (Self.marks + Self.textMarks).first(where: { bytes.starts(with: $0.beginning) }) {
            self = mark.impostor
        } else if Self.pages.contains(where: words.hasPrefix) {
            self = .webPage
        } else if 4 * bytes.count(where: { $0 == 0 }) > bytes.count {
            self = .wideText("UTF-16")
        } else {
            return nil
        }
    }

    private static func words(_ bytes: ArraySlice<UInt8>) -> String {
        String(decoding: bytes.drop { $0 <= 0x20 }.prefix(64), as: UTF8.self).lowercased()
    }

    /// A sentence's end: what it is, and what to do about it.
    package var problem: String {
        switch self {
        case .gitLFSPointer: "is a Git LFS pointer, not the file it stands for; run git lfs pull in its folder"
        case .webPage:
            "is an HTML page, not the file it should be; download it again (a page comes where a link is wrong or needs a "
                + "login)"
        case .serverMessage: "holds a server's error message; download it again"
        case .wideText(let encoding): "is \(encoding), not UTF-8; convert it: iconv -f \(encoding) -t UTF-8"
        case .markedUTF8: "begins with a byte-order mark; save it as UTF-8 without one"
        case .compressed(let format): "is a \(format) file; unpack it"
        }
    }
}
