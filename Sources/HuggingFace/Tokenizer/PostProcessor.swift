internal import Support

/// Where a text's ids stand among special tokens.
struct PostProcessor: Sendable {
    private(set) var before: [Int32] = []
    private(set) var after: [Int32] = []

    init() {}

    init(_ section: TokenizerSection, vocabulary: Vocabulary) throws(TokenizerError) {
        for step in try section.steps("processors") {
            switch try step.type {
            case "ByteLevel": break  // It moves offsets only, which are not computed here.
            case "TemplateProcessing":
                let inner = try Self.template(step, vocabulary)
                before = inner.before + before
                after += inner.after
            case let type: throw step.unknownType(type, known: "ByteLevel, TemplateProcessing and Sequence")
            }
        }
    }

    /// The template for one text: special tokens around `A`.
    private static func template(
        _ section: TokenizerSection, _ vocabulary: Vocabulary
    ) throws(TokenizerError) -> (before: [Int32], after: [Int32]) {
        let special = try section.section("special_tokens")
        var (before, after): ([Int32], [Int32]) = ([], [])
        var sawText = false
        for piece in try section.sections("single") {
            if let token = try piece.section("SpecialToken") {
                let ids = try ids(of: try token.string("id"), in: special, section, vocabulary)
                if sawText { after += ids } else { before += ids }
            } else if try piece.section("Sequence")?.string("id") == "A", !sawText {
                sawText = true
            } else {
                throw TokenizerError(key: piece.key, problem: "is neither a special token nor the one occurrence of the text A")
            }
        }
        guard sawText else { throw section.failure("single", "does not contain the text A") }
        return (before, after)
    }

    private static func ids(
        of name: String, in special: TokenizerSection?, _ section: TokenizerSection, _ vocabulary: Vocabulary
    ) throws(TokenizerError) -> [Int32] {
        guard let integers = special?[name]?["ids"]?.integers else {
            throw section.failure("special_tokens", "has no list of ids for \"\(name)\"")
        }
        var ids: [Int32] = []
        for integer in integers {
            guard let id = Int32(exactly: integer), vocabulary.token(id) != nil else {
                throw section.failure("special_tokens", "the id \(integer) of \"\(name)\" is not a token of the vocabulary")
            }
            ids.append(id)
        }
        return ids
    }
}
