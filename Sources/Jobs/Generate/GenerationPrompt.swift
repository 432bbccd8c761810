internal import Collectives
internal import Generation
internal import HuggingFace
internal import Models
internal import Support

/// The tokens that a text continues, and the tokens that end it.
///
/// Only the first rank needs the tokenizer.
struct GenerationPrompt {
    let tokens: [Int32]
    let endTokens: Set<Int32>
    /// The tokenizer, on the first rank.
    let tokenizer: Tokenizer?

    /// Collective.
    ///
    /// - Parameter encode: called on the first rank; returns the tokens of the prompt.
    /// - Throws: ``GenerationError``, ``FileError``; what `encode` throws.
    init(
        _ folder: ModelFolder, _ world: some Communicator, encode: (Tokenizer) throws -> [Int32]
    ) throws {
        var tokenizer: Tokenizer?
        let text = try world.fromRoot {
            let own = try Tokenizer(folder: folder.path)
            tokenizer = own
            let tokens = try Self.checked(encode(own), own, folder.architecture)
            let ends = try own.endTokens(
                ofFolder: folder.path, folder.config, vocabulary: folder.architecture.vocabularySize)
            return Self.text(tokens) + "\n" + Self.text(ends.sorted())
        }
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        (tokens, endTokens) = (Self.numbers(lines[0]), Set(Self.numbers(lines[1])))
        self.tokenizer = tokenizer
    }

    private static func text(_ tokens: [Int32]) -> String { tokens.map(String.init).joined(separator: " ") }
    private static func numbers(_ text: Substring) -> [Int32] { text.split(separator: " ").compactMap { Int32($0) } }

    private static func checked(
        _ given: [Int32], _ tokenizer: Tokenizer, _ shape: Architecture
    ) throws(GenerationError) -> [Int32] {
        var tokens = given
        if tokens.isEmpty, let begin = tokenizer.bosToken { tokens = [begin] }
        guard !tokens.isEmpty else { throw .emptyPrompt }
        if let token = tokens.first(where: { $0 < 0 || Int($0) >= shape.vocabularySize }) {
            throw .tokenOutside(token: Int(token), vocabulary: shape.vocabularySize)
        }
        guard tokens.count < shape.maximumPositions else {
            throw .promptTooLong(tokens: tokens.count, most: shape.maximumPositions)
        }
        return tokens
    }
}
