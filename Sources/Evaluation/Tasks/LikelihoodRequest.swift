package import HuggingFace
package import Support

/// Tokens whose likelihood is asked for: those that follow the first `tokens.count + 1 − targets.count` inputs.
package struct LikelihoodRequest: Sendable, Equatable {
    /// What the network reads.
    package let tokens: [Int32]
    /// What it should foretell from its last positions.
    package let targets: [Int32]

    init(tokens: [Int32], targets: [Int32]) { (self.tokens, self.targets) = (tokens, targets) }
}

/// Makes requests of texts as lm-eval's models of Hugging Face do.
package struct RequestMaker {
    private let tokenizer: Tokenizer
    private let vocabulary: Int
    /// Tokens that a network reads at most.
    private let length: Int
    /// What an empty context is: the token that begins a text, else the one that ends it.
    private let prefix: Int32
    /// Contexts that were too long, and lost their beginning.
    package private(set) var truncated = 0

    /// - Throws: ``FileError`` where the tokenizer names neither token, or one that the model does not have.
    package init(_ tokenizer: Tokenizer, vocabulary: Int, length: Int, folder: String) throws(FileError) {
        guard let prefix = tokenizer.bosToken ?? tokenizer.eosToken else {
            throw FileError(
                .malformed, "\(folder)/tokenizer_config.json",
                "names neither bos_token nor eos_token, one of which must stand before a text; add one")
        }
        try Self.check([prefix], vocabulary, "\(folder)/tokenizer_config.json")
        (self.tokenizer, self.vocabulary, self.length, self.prefix) = (tokenizer, vocabulary, length, prefix)
    }

    private static func check(_ tokens: [Int32], _ vocabulary: Int, _ place: String) throws(FileError) {
        guard let token = tokens.first(where: { $0 < 0 || Int($0) >= vocabulary }) else { return }
        throw FileError(
            .malformed, place,
            "has token \(token), but the model has \(vocabulary) tokens; tokenizer and model do not belong together")
    }

    /// The requests of an item, in order.
    ///
    /// - Throws: ``FileError`` at `place` for a continuation without tokens, or with more than there are positions.
    package mutating func requests(_ item: TaskItem, place: String) throws(FileError) -> [LikelihoodRequest] {
        switch item {
        case .choices(let pairs, _, _):
            var result: [LikelihoodRequest] = []
            for pair in pairs { result.append(try request(pair, place)) }
            return result
        case .cloze(let pair): return [try request(pair, place)]
        case .text(let text): return try windows(try encode(text, place, isWhole: true))
        }
    }

    private func encode(_ text: String, _ place: String, isWhole: Bool) throws(FileError) -> [Int32] {
        let tokens = tokenizer.encode(text, addSpecialTokens: isWhole)
        try Self.check(tokens, vocabulary, place)
        return tokens
    }

    private mutating func request(_ pair: TextPair, _ place: String) throws(FileError) -> LikelihoodRequest {
        let (context, blanks) = pair.context.splitOffBlanks
        var (before, after): ([Int32], [Int32])
        if context.isEmpty {
            (before, after) = ([prefix], try encode(blanks + pair.continuation, place, isWhole: false))
            if after.first == prefix { after.removeFirst() }
        } else {
            // Blanks at the end belong to the tokens that follow.
            let whole = try encode(context + blanks + pair.continuation, place, isWhole: true)
            before = try encode(context, place, isWhole: true)
            after = Array(whole.dropFirst(before.count))
        }
        guard !after.isEmpty else {
            throw FileError(.malformed, place, "the text to be scored adds no token to its context; remove the item")
        }
        guard after.count <= length else {
            throw FileError(
                .malformed, place, "the text to be scored has \(after.count) tokens, but the model reads at most \(length)")
        }
        if before.count + after.count > length + 1 { truncated += 1 }
        return LikelihoodRequest(tokens: Array((before + after).suffix(length + 1).dropLast()), targets: after)
    }

    /// A text in windows of which each foretells tokens that no other does, from as many before them as there is room for.
    private func windows(_ tokens: [Int32]) throws(FileError) -> [LikelihoodRequest] {
        var result: [LikelihoodRequest] = []
        var done = 0
        while done < tokens.count {
            let end = min(tokens.count, done + length)
            let first = done == 0 ? 0 : end - length
            let read = (first == 0 ? [prefix] : [tokens[first - 1]]) + tokens[first..<end - 1]
            result.append(LikelihoodRequest(tokens: read, targets: Array(tokens[done..<end])))
            done = end
        }
        return result
    }
}
