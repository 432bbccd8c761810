internal import TensorCore

/// Makes tokens after a prompt.
package struct Generator {
    /// Why it has ended.
    package enum End: String, Sendable {
        /// A token that ends a text.
        case stop
        /// As many as were asked for.
        case length
    }

    private let sequence: TokenSequence
    private var choice: TokenChoice
    private let endTokens: Set<Int32>

    /// - Parameter endTokens: tokens that end a text; they are not part of the result.
    package init(_ model: RunnableModel, capacity: Int, choice: TokenChoice, endTokens: Set<Int32>) {
        sequence = TokenSequence(model, capacity: capacity)
        (self.choice, self.endTokens) = (choice, endTokens)
    }

    /// Hands out up to `most` tokens that follow `prompt`, each as soon as it is there.
    ///
    /// - Throws: ``GenerationError/notFinite(position:)``; what `body` throws.
    /// - Precondition: a prompt of at least one token, each in the vocabulary, with room for all in the capacity.
    package mutating func run(_ prompt: [Int32], most: Int, _ body: (Int32) throws -> Void) throws -> End {
        try run(prompt, most: most, over: WholeNetwork(), body)
    }

    /// The same by all stages together: each returns every token, and throws where the tokens end. Collective.
    ///
    /// - Parameter link: the last stage chooses, and tells all others.
    /// - Throws: also what `link` throws.
    package mutating func run(
        _ prompt: [Int32], most: Int, over link: some StageLink, _ body: (Int32) throws -> Void
    ) throws -> End {
        var logits = try sequence.read(prompt, over: link)
        for made in 0..<most {
            guard let token = try link.share(chosen(logits)) else {
                throw GenerationError.notFinite(position: sequence.length)
            }
            if endTokens.contains(token) { return .stop }
            try body(token)
            if made + 1 < most { logits = try sequence.read([token], over: link) }
        }
        return .length
    }

    private mutating func chosen(_ logits: Tensor?) -> Int32? {
        guard let logits else { return nil }
        return choice.next(logits)
    }
}
