package import HuggingFace

/// The text of tokens as they come: text that was returned never changes with the tokens that follow.
package struct TextStream {
    private let tokenizer: Tokenizer
    /// Tokens from the last place on at which text was returned; those before `given` are its context.
    private var tokens: [Int32] = []
    private var given = 0

    /// - Parameter context: tokens before the first, whose text is known.
    package init(_ tokenizer: Tokenizer, after context: [Int32] = []) {
        self.tokenizer = tokenizer
        tokens = Self.end(of: context, atLeast: Self.contextTokens, tokenizer)
        given = tokens.count
    }

    /// Enough for what a decoder makes of a token that begins a text.
    private static let contextTokens = 8
    /// A token for each byte of the longest character.
    private static let tokensOfACharacter = 4

    /// The last tokens, from the beginning of a whole character on. Where they began within a character, a decoder with byte
    /// fallback could not decode the bytes after that part either.
    private static func end(of tokens: [Int32], atLeast least: Int, _ tokenizer: Tokenizer) -> [Int32] {
        let ends = (least..<least + tokensOfACharacter).lazy.map { Array(tokens.suffix($0)) }
        let whole = ends.first { end in
            end.count == tokens.count
                || !tokenizer.decode(end, skipSpecialTokens: true).utf8.starts(with: "\u{FFFD}".utf8)
        }
        return whole ?? Array(tokens.suffix(least))
    }

    /// The text that a token adds; empty while a character is incomplete.
    package mutating func append(_ token: Int32) -> String {
        tokens.append(token)
        return take(isLast: false)
    }

    /// What is left when no token follows.
    package mutating func finish() -> String { take(isLast: true) }

    private mutating func take(isLast: Bool) -> String {
        let before = tokenizer.decode(Array(tokens[..<given]), skipSpecialTokens: true)
        let all = tokenizer.decode(tokens, skipSpecialTokens: true)
        // In bytes, since a mark that follows a letter, or a letter after a number sign, makes one character of both.
        guard isLast || !all.utf8.reversed().starts(with: "\u{FFFD}".utf8.reversed()) else { return "" }
        let added = all.utf8.dropFirst(before.utf8.count)
        tokens = Self.end(of: tokens, atLeast: max(Self.contextTokens, tokens.count - given), tokenizer)
        given = tokens.count
        return String(decoding: Array(added), as: UTF8.self)
    }
}
