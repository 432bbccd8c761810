internal import Support

/// Tokens found in a text as they stand, before it is cut and merged: `<s>`, `<|end_of_text|>`, …
struct AddedTokens: Sendable {
    struct Token: Sendable, Equatable {
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
    /// Bytes that one token, and all of them together, may be looked for by; no tokenizer in use reaches a fourth.
    private static let longest = 1 << 16
    private static let mostBytes = 1 << 23
    private let given: TokenMatcher
    private let normalized: TokenMatcher

    init(_ sections: [TokenizerSection], normalizer: Normalizer?, vocabulary: inout Vocabulary) throws(TokenizerError) {
        var tokens: [Token] = []
        var places: [UTF8Key: Int] = [:]
        let modelCount = vocabulary.count
        var largest = -1
        for section in sections {
            let token = try Self.token(section)
            if let place = places[UTF8Key(token.content)] {
                guard tokens[place] == token else {
                    throw section.failure(
                        "content", "\"\(token.content)\" is listed a second time, with other settings; leave one out")
                }
                continue
            }
            places[UTF8Key(token.content)] = tokens.count
            tokens.append(token)
            try Self.insert(token, into: &vocabulary, formerly: max(modelCount, largest + 1), section)
            largest = max(largest, Int(token.id))
        }
        specialIDs = Set(tokens.filter(\.isSpecial).map(\.id))
        var matchers: [Bool: [(content: [UInt8], token: Token)]] = [:]
        var same: [[UInt8]: Token] = [:]
        var bytes = 0
        for token in tokens {
            var content = Array(token.content.utf8)
            if token.normalized, let normalizer {
                content = normalizer.apply(to: content[...])
                try Self.check(token, content, same.updateValue(token, forKey: content))
            }
            bytes += content.count
            guard bytes <= Self.mostBytes else {
                throw TokenizerError(
                    key: "added_tokens",
                    problem: "have more than \(Self.mostBytes) bytes of text in all, which are not accepted")
            }
            matchers[token.normalized, default: []].append((content, token))
        }
        given = TokenMatcher(matchers[false] ?? [])
        normalized = TokenMatcher(matchers[true] ?? [])
    }

    /// Checks what is left of a token when it is normalized: something, and not the same as of another.
    private static func check(_ token: Token, _ content: [UInt8], _ other: Token?) throws(TokenizerError) {
        guard !content.isEmpty else {
            throw TokenizerError(
                key: "added_tokens",
                problem: "nothing is left of \"\(token.content)\" when it is normalized; set normalized to false")
        }
        guard let other else { return }
        throw TokenizerError(
            key: "added_tokens",
            problem: "the ids \(other.id) and \(token.id) have the same text when normalized (\"\(other.content)\", "
                + "\"\(token.content)\"), of which Hugging Face's library takes one by chance; remove one, or set normalized "
                + "to false")
    }

    private static func token(_ section: TokenizerSection) throws(TokenizerError) -> Token {
        let special = try section.flag("special", default: false)
        let content = try section.string("content")
        guard !content.isEmpty else { throw section.failure("content", "is empty") }
        guard content.utf8.count <= longest else {
            throw section.failure("content", "has \(content.utf8.count) bytes; at most \(longest) are accepted")
        }
        return Token(
            id: Int32(truncatingIfNeeded: try section.integer("id")), content: content, isSpecial: special,
            singleWord: try section.flag("single_word", default: false),
            stripsLeft: try section.flag("lstrip", default: false), stripsRight: try section.flag("rstrip", default: false),
            normalized: try section.flag("normalized", default: !special))
    }

    /// Adds a token to the vocabulary, with the id that Hugging Face's library gives it, whatever its file says: that of the
    /// vocabulary, or, for tokens that are new, the count of those before (since its version 0.22) or, where the vocabulary has
    /// gaps, the one after the largest added id (until 0.21, which wrote most files). A file with another id means two things
    /// at once.
    ///
    /// - Parameter former: the id that the library gave a new token until 0.21.
    private static func insert(
        _ token: Token, into vocabulary: inout Vocabulary, formerly former: Int, _ section: TokenizerSection
    ) throws(TokenizerError) {
        let (id, known) = (try section.integer("id"), vocabulary[token.content])
        let expected = known.map(Int.init) ?? vocabulary.count
        try vocabulary.insert(token.content, id: id, at: section.path("id"))
        guard id == expected || (known == nil && id == former) else {
            throw section.failure(
                "id",
                "\"\(token.content)\" has the id \(id), but Hugging Face's library gives new tokens the next ids, "
                    + "without gaps, and this one \(expected); list tokens for the ids between, so that this one gets "
                    + "the id that the model was trained with")
        }
    }

    /// The text as given, cut at added tokens.
    func parts(ofGiven text: [UInt8]) -> [Part] { given.parts(of: text, in: text.indices) }

    /// A normalized text, cut at added tokens.
    func parts(ofNormalized text: [UInt8], in range: Range<Int>) -> [Part] { normalized.parts(of: text, in: range) }
}
