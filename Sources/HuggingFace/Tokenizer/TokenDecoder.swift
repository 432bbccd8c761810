/// A step that turns tokens back into text: it maps a list of tokens to another; in the end they are joined.
enum TokenDecoder: Sendable {
    case byteLevel
    case replace(Replacement)
    /// Tokens `<0x0A>` become the bytes they name; bytes that are not UTF-8 become one U+FFFD each.
    case byteFallback
    /// Joins all tokens into one.
    case fuse
    /// Removes up to `start` and `stop` occurrences of a character from the ends of each token.
    case strip(content: [UInt8], start: Int, stop: Int)
    case metaspace(Metaspace)

    private static let replacementCharacter = Array("\u{FFFD}".utf8)

    /// The steps a `decoder` describes, in order.
    static func steps(_ section: TokenizerSection) throws(TokenizerError) -> [TokenDecoder] {
        var steps: [TokenDecoder] = []
        for step in try section.steps("decoders") { steps.append(try TokenDecoder(step)) }
        return steps
    }

    private init(_ section: TokenizerSection) throws(TokenizerError) {
        switch try section.type {
        case "ByteLevel": self = .byteLevel
        case "Replace": self = .replace(try Replacement(section))
        case "ByteFallback": self = .byteFallback
        case "Fuse": self = .fuse
        case "Strip":
            let content = try section.string("content")
            guard content.unicodeScalars.count == 1 else { throw section.failure("content", "is not one character") }
            self = .strip(content: Array(content.utf8), start: try section.integer("start"), stop: try section.integer("stop"))
        case "Metaspace": self = .metaspace(try Metaspace(section))
        case let type:
            throw section.unknownType(type, known: "ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Strip and Sequence")
        }
    }

    func apply(to tokens: [[UInt8]]) -> [[UInt8]] {
        switch self {
        case .byteLevel: [Self.repaired(tokens.flatMap(ByteLevel.bytes(of:)))]
        case .replace(let replacement): tokens.map(replacement.apply)
        case .byteFallback: Self.joiningBytes(tokens)
        case .fuse: [Array(tokens.joined())]
        case .strip(let content, let start, let stop): tokens.map { Self.strip($0, content, start, stop) }
        case .metaspace(let metaspace):
            tokens.enumerated().map { i, token in
                metaspace.unmark(token, isFirst: i == 0)
            }
        }
    }

    /// Bytes with everything that is not UTF-8 replaced by U+FFFD.
    private static func repaired(_ bytes: [UInt8]) -> [UInt8] { Array(String(decoding: bytes, as: UTF8.self).utf8) }

    private static func joiningBytes(_ tokens: [[UInt8]]) -> [[UInt8]] {
        var result: [[UInt8]] = []
        var bytes: [UInt8] = []
        func flush() {
            guard !bytes.isEmpty else { return }
            if String(validating: bytes, as: UTF8.self) != nil {
                result.append(bytes)
            } else {
                result += Array(repeating: replacementCharacter, count: bytes.count)
            }
            bytes = []
        }
        for token in tokens {
            if let byte = BytePairModel.byte(namedBy: token) {
                bytes.append(byte)
            } else {
                flush()
                result.append(token)
            }
        }
        flush()
        return result
    }

    private static func strip(_ token: [UInt8], _ content: [UInt8], _ start: Int, _ stop: Int) -> [UInt8] {
        var low = 0, high = token.count
        for _ in 0..<max(0, start) {
            guard token.holds(content, at: low) else { break }
            low += content.count
        }
        for _ in 0..<max(0, stop) {
            guard high - content.count >= low, token.holds(content, at: high - content.count) else { break }
            high -= content.count
        }
        return Array(token[low..<high])
    }
}
