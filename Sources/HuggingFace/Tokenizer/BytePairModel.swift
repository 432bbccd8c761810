internal import Support

/// Byte-pair encoding (Sennrich et al., "Neural machine translation of rare words with subword units", ACL 2016): symbols
/// next to each other are merged, the pair that comes first in the list of merges first, until no pair is in the list.
struct BytePairModel: Sendable {
    /// What the symbols of a text are before any merge.
    enum Alphabet {
        /// Its bytes, each spelled as `ByteLevel` does.
        case bytes
        /// Its characters.
        case scalars
    }

    let vocabulary: Vocabulary
    let merges: MergeTable
    let alphabet: Alphabet
    /// A piece that is a token as it stands is not merged.
    private let ignoresMerges: Bool
    /// The token for what the vocabulary lacks; without one it is left out.
    private let unknown: Int32?
    /// Whether neighbors without a token share one unknown token.
    private let fusesUnknown: Bool
    /// The tokens `<0x00>` … `<0xFF>`, which spell characters without a token; empty if they are not to be used.
    private let byteTokens: [Int32?]
    private let symbols: SymbolTable
    /// See `wordMark(in:merges:)`.
    private let wordMark: [UInt8]?

    init(_ section: TokenizerSection, alphabet: Alphabet) throws(TokenizerError) {
        if section["type"] != nil, case let type = try section.type, type != "BPE" {
            throw section.unknownType(type, known: "BPE")
        }
        for name in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
            guard let value = section[name], value.string != "", value.number != 0 else { continue }
            throw section.failure(name, "is set; only null is supported")
        }
        self.alphabet = alphabet
        vocabulary = try Self.vocabulary(section)
        merges = try MergeTable(section, vocabulary: vocabulary)
        symbols = SymbolTable(vocabulary)
        ignoresMerges = try section.flag("ignore_merges", default: false)
        fusesUnknown = try section.flag("fuse_unk", default: false)
        byteTokens = try section.flag("byte_fallback", default: false) ? Self.byteTokens(vocabulary) : []
        unknown = try section["unk_token"] == nil ? nil : Self.unknown(section, vocabulary)
        wordMark = alphabet == .scalars && !ignoresMerges ? Self.wordMark(in: vocabulary, merges: merges) : nil
    }

    private static func vocabulary(_ section: TokenizerSection) throws(TokenizerError) -> Vocabulary {
        guard let members = section["vocab"]?.object?.members else { throw section.failure("vocab", "is not an object") }
        var vocabulary = Vocabulary()
        for (token, value) in members {
            guard let id = value.integer else { throw section.failure("vocab", "the id of \"\(token)\" is not an integer") }
            try vocabulary.insert(token, id: id, at: section.path("vocab"))
        }
        return vocabulary
    }

    private static func unknown(_ section: TokenizerSection, _ vocabulary: Vocabulary) throws(TokenizerError) -> Int32 {
        let token = try section.string("unk_token")
        guard let id = vocabulary[token] else { throw section.failure("unk_token", "\"\(token)\" is not in the vocabulary") }
        return id
    }

    private static func byteTokens(_ vocabulary: Vocabulary) -> [Int32?] {
        (0..<256).map { byte in
            let digits = String(byte, radix: 16, uppercase: true)
            return vocabulary["<0x\(byte < 16 ? "0" : "")\(digits)>"]
        }
    }

    /// The byte a token such as `<0x0A>` names.
    static func byte(namedBy token: [UInt8]) -> UInt8? {
        guard token.count == 6, token.holds(Array("<0x".utf8), at: 0), token[5] == UInt8(ascii: ">") else { return nil }
        return UInt8(String(decoding: token[3..<5], as: UTF8.self), radix: 16)
    }

    /// SentencePiece's mark of a space, if no merge joins something else to a mark on its right.
    ///
    /// Then merges on the two sides of such a place never touch, and a text may be cut there into words, most of which have
    /// been seen before; Llama 2's vocabulary has the property.
    private static func wordMark(in vocabulary: Vocabulary, merges: MergeTable) -> [UInt8]? {
        let mark = "\u{2581}"
        guard vocabulary[mark] != nil else { return nil }
        let ends = vocabulary.tokens.map { token in
            (begins: token?.unicodeScalars.first == "\u{2581}", ends: token?.unicodeScalars.last == "\u{2581}")
        }
        let crosses = merges.pairs.contains { !ends[Int($0.left)].ends && ends[Int($0.right)].begins }
        return crosses ? nil : Array(mark.utf8)
    }
}

// MARK: - Encoding

extension BytePairModel {
    /// Calls `body` with parts of a piece that can be encoded one by one.
    func forEachWord(of text: [UInt8], _ range: Range<Int>, _ body: (Range<Int>) -> Void) {
        var start = range.lowerBound
        if let wordMark {
            var previousWasMark = true
            var position = start
            while position < range.upperBound {
                let isMark = text[position] == wordMark[0] && text.holds(wordMark, at: position)
                if isMark, !previousWasMark {
                    body(start..<position)
                    start = position
                }
                previousWasMark = isMark
                position += isMark ? wordMark.count : 1
            }
        }
        body(start..<range.upperBound)
    }

    /// The ids of a piece, in O(n log n) for n symbols, and what of it has no token.
    func encode(_ text: [UInt8], _ range: Range<Int>) -> (ids: [Int32], lost: LostText) {
        if ignoresMerges, let id = vocabulary[spelling(of: text[range])] { return ([id], LostText()) }
        var lost = LostText()
        let symbols = initialSymbols(of: text, range, &lost)
        return (merges.merged(symbols), lost)
    }

    private func spelling(of piece: ArraySlice<UInt8>) -> String {
        switch alphabet {
        case .bytes: ByteLevel.text(of: piece)
        case .scalars: String(decoding: piece, as: UTF8.self)
        }
    }

    /// The ids of single bytes or characters.
    private func initialSymbols(of text: [UInt8], _ range: Range<Int>, _ lost: inout LostText) -> [Int32] {
        var ids: [Int32] = []
        ids.reserveCapacity(range.count)
        var unknownIsPending = false
        var position = range.lowerBound
        while position < range.upperBound {
            let scalar: UInt32
            let start = position
            switch alphabet {
            case .bytes:
                scalar = ByteLevel.scalarOfByte[Int(text[position])]
                position += 1
            case .scalars:
                let (next, length) = UTF8Text.scalar(in: text, at: position)
                scalar = next.value
                position += length
            }
            if let id = symbols[scalar] {
                if unknownIsPending, let unknown { ids.append(unknown) }
                unknownIsPending = false
                ids.append(id)
            } else if let spelled = byteSpelling(of: scalar) {
                ids += spelled
            } else {
                if unknownIsPending, !fusesUnknown, let unknown { ids.append(unknown) }
                unknownIsPending = true
                if unknown == nil { lost.dropped += position - start } else { lost.unknown += position - start }
            }
        }
        if unknownIsPending, let unknown { ids.append(unknown) }
        return ids
    }

    /// A character as byte tokens; nil if one of them is missing.
    private func byteSpelling(of scalar: UInt32) -> [Int32]? {
        guard !byteTokens.isEmpty, let scalar = Unicode.Scalar(scalar) else { return nil }
        var ids: [Int32] = []
        for byte in String(Character(scalar)).utf8 {
            guard let id = byteTokens[Int(byte)] else { return nil }
            ids.append(id)
        }
        return ids
    }
}

/// Bytes of a text that the vocabulary cannot express.
package struct LostText: Equatable, Sendable {
    /// Left out of the ids, since there is no unknown token.
    package var dropped = 0
    /// Expressed by the unknown token.
    package var unknown = 0

    package init(dropped: Int = 0, unknown: Int = 0) {
        self.dropped = dropped
        self.unknown = unknown
    }

    /// Adds what a further part of the text has lost.
    package static func += (total: inout LostText, part: LostText) {
        total.dropped += part.dropped
        total.unknown += part.unknown
    }
}

/// The tokens that are one character long.
private struct SymbolTable: Sendable {
    /// Ids of the scalars below `directLimit`, which holds ASCII and the byte-level alphabet; −1 if there is none.
    private var direct = [Int32](repeating: -1, count: Int(directLimit))
    private var others: [UInt32: Int32] = [:]
    private static let directLimit: UInt32 = 0x180

    init(_ vocabulary: Vocabulary) {
        for (id, token) in vocabulary.tokens.enumerated() {
            guard let scalars = token?.unicodeScalars, let first = scalars.first, scalars.count == 1 else { continue }
            if first.value < Self.directLimit {
                direct[Int(first.value)] = Int32(id)
            } else {
                others[first.value] = Int32(id)
            }
        }
    }

    subscript(scalar: UInt32) -> Int32? {
        if scalar >= Self.directLimit { return others[scalar] }
        let id = direct[Int(scalar)]
        return id < 0 ? nil : id
    }
}
