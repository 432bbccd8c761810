/// SentencePiece's treatment of spaces: each becomes a visible mark (▁), and a word without one gets it in front.
struct Metaspace: Sendable {
    enum Prepend: String {
        /// Before every text between added tokens.
        case always
        /// Only at the beginning of what the user gave.
        case first
        case never
    }

    /// One character.
    let mark: [UInt8]
    let prepend: Prepend
    /// Whether each mark begins a new piece.
    let splits: Bool

    init(_ section: TokenizerSection) throws(TokenizerError) {
        let replacement = try section.string("replacement")
        guard replacement.unicodeScalars.count == 1 else { throw section.failure("replacement", "is not one character") }
        mark = Array(replacement.utf8)
        if section["prepend_scheme"] != nil {
            let name = try section.string("prepend_scheme")
            guard let scheme = Prepend(rawValue: name) else {
                throw section.failure("prepend_scheme", "\"\(name)\" is not always, first or never")
            }
            prepend = scheme
        } else {
            // Files of older versions have a flag instead.
            prepend = try section.flag("add_prefix_space", default: true) ? .always : .never
        }
        splits = try section.flag("split", default: true)
    }

    /// A text with marks for spaces.
    func mark(_ text: ArraySlice<UInt8>, isFirst: Bool) -> [UInt8] {
        var marked: [UInt8] = []
        marked.reserveCapacity(text.count + mark.count)
        let wantsMark = prepend == .always || prepend == .first && isFirst
        if wantsMark, text.first != UInt8(ascii: " "), !text.starts(with: mark) { marked += mark }
        for byte in text {
            if byte == UInt8(ascii: " ") { marked += mark } else { marked.append(byte) }
        }
        return marked
    }

    /// A token's text; the mark that begins a text is not of it, unless marks are put nowhere.
    func unmark(_ token: [UInt8], isFirst: Bool) -> [UInt8] {
        Replacement(mark, with: isFirst && prepend != .never ? [] : [UInt8(ascii: " ")]).apply(to: token)
    }

    /// The words of a marked text, each with its mark; the whole text if it is not to be split.
    func forEachWord(of text: [UInt8], _ body: (Range<Int>) -> Void) {
        var start = 0
        if splits {
            for position in text.indices.dropFirst() where text[position] == mark[0] && text.holds(mark, at: position) {
                body(start..<position)
                start = position
            }
        }
        body(start..<text.count)
    }
}
