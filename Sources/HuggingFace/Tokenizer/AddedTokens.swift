/// Tokens found in a text as they stand, before it is cut and merged: `<s>`, `<|end_of_text|>`, …
struct AddedTokens: Sendable {
    struct Token: Sendable {
        let id: Int32
        let content: String
        let isSpecial: Bool
        /// Only if no letter, digit or the like touches it.
        let singleWord: Bool
        /// White space before it belongs to it.
        let stripsLeft: Bool
        /// White space after it belongs to it.
        let stripsRight: Bool
        /// Looked for in the normalized text (and normalized itself), not in the text as given.
        let normalized: Bool
    }

    enum Part {
        case token(Int32)
        case text(Range<Int>)
    }

    private(set) var specialIDs: Set<Int32> = []
    private var given = TokenMatcher()
    private var normalized = TokenMatcher()

    init(_ sections: [TokenizerSection], normalizer: Normalizer?, vocabulary: inout Vocabulary) throws(TokenizerError) {
        for section in sections {
            let special = try section.flag("special", default: false)
            let token = Token(
                id: Int32(truncatingIfNeeded: try section.integer("id")), content: try section.string("content"),
                isSpecial: special, singleWord: try section.flag("single_word", default: false),
                stripsLeft: try section.flag("lstrip", default: false), stripsRight: try section.flag("rstrip", default: false),
                normalized: try section.flag("normalized", default: !special))
            guard !token.content.isEmpty else { throw section.failure("content", "is empty") }
            try vocabulary.insert(token.content, id: try section.integer("id"), at: section.path("id"))
            add(token, normalizer: normalizer)
        }
    }

    private mutating func add(_ token: Token, normalizer: Normalizer?) {
        if token.isSpecial { specialIDs.insert(token.id) }
        let content = Array(token.content.utf8)
        if token.normalized {
            normalized.insert(normalizer?.apply(to: content) ?? content, token)
        } else {
            given.insert(content, token)
        }
    }

    /// The text as given, cut at added tokens.
    func parts(ofGiven text: [UInt8]) -> [Part] { given.parts(of: text) }

    /// A normalized text, cut at added tokens.
    func parts(ofNormalized text: [UInt8]) -> [Part] { normalized.parts(of: text) }
}

/// A prefix tree of added tokens.
private struct TokenMatcher: Sendable {
    private struct Node: Sendable {
        var children: [UInt8: Int] = [:]
        var token: AddedTokens.Token?
    }

    private var nodes = [Node()]
    /// Whether a token begins with the byte.
    private var begins = [Bool](repeating: false, count: 256)

    mutating func insert(_ content: [UInt8], _ token: AddedTokens.Token) {
        guard let first = content.first else { return }
        begins[Int(first)] = true
        var node = 0
        for byte in content {
            if let child = nodes[node].children[byte] {
                node = child
            } else {
                nodes.append(Node())
                nodes[node].children[byte] = nodes.count - 1
                node = nodes.count - 1
            }
        }
        if nodes[node].token == nil { nodes[node].token = token }
    }

    /// The longest token at `start`, and its end.
    private func match(in text: [UInt8], at start: Int) -> (token: AddedTokens.Token, end: Int)? {
        var found: (AddedTokens.Token, Int)?
        var node = 0, position = start
        while position < text.count, let child = nodes[node].children[text[position]] {
            node = child
            position += 1
            if let token = nodes[node].token { found = (token, position) }
        }
        return found
    }

    /// Matches from left to right, the longest at each place, and the text between them.
    func parts(of text: [UInt8]) -> [AddedTokens.Part] {
        var parts: [AddedTokens.Part] = []
        var done = 0, position = 0
        while position < text.count {
            guard begins[Int(text[position])], let (token, end) = match(in: text, at: position) else {
                position += 1
                continue
            }
            let start = position
            position = end
            guard !token.singleWord || standsAlone(in: text, start..<end) else { continue }
            // As in Hugging Face's library, a token counts even if the token before it has taken white space at its beginning,
            // and the text behind it counts again. A token that strips white space on its left does not count if nothing of it
            // is left. (The library fails where the token before has taken all of this one.)
            let taken = extent(of: token, in: text, start..<end, after: done)
            if token.stripsLeft, taken.upperBound <= done { continue }
            if taken.lowerBound > done { parts.append(.text(done..<taken.lowerBound)) }
            parts.append(.token(token.id))
            done = taken.upperBound
        }
        if done < text.count { parts.append(.text(done..<text.count)) }
        return parts
    }

    private func standsAlone(in text: [UInt8], _ range: Range<Int>) -> Bool {
        let touchesLeft = range.lowerBound > 0 && UTF8Text.scalar(in: text, before: range.lowerBound).scalar.isWord
        let touchesRight = range.upperBound < text.count && UTF8Text.scalar(in: text, at: range.upperBound).scalar.isWord
        return !touchesLeft && !touchesRight
    }

    /// The match with the white space that belongs to it.
    private func extent(of token: AddedTokens.Token, in text: [UInt8], _ range: Range<Int>, after done: Int) -> Range<Int> {
        var start = range.lowerBound, end = range.upperBound
        while token.stripsLeft, start > done {
            let (scalar, length) = UTF8Text.scalar(in: text, before: start)
            guard scalar.properties.isWhitespace else { break }
            start -= length
        }
        while token.stripsRight, end < text.count {
            let (scalar, length) = UTF8Text.scalar(in: text, at: end)
            guard scalar.properties.isWhitespace else { break }
            end += length
        }
        return start..<end
    }
}
