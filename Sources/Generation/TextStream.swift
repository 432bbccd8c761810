package import HuggingFace

/// The text of tokens as they come: what is handed out never changes with the tokens that follow.
package struct TextStream {
    private let tokenizer: Tokenizer
    /// Tokens from the last place on at which text was handed out; those before `given` are its context.
    private var tokens: [Int32] = []
    private var given = 0

    /// - Parameter context: tokens before the first, whose text is known.
    package init(_ tokenizer: Tokenizer, after context: [Int32] = []) {
        self.tokenizer = tokenizer
        tokens = Array(context.suffix(Self.contextTokens))
        given = tokens.count
    }

    /// Enough for what a decoder makes of a token that begins a text, and for the longest character.
    private static let contextTokens = 8

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
        tokens = Array(tokens.suffix(max(Self.contextTokens, tokens.count - given)))
        given = tokens.count
        return String(decoding: Array(added), as: UTF8.self)
    }
}
