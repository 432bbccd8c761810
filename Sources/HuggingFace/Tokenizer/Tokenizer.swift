internal import Support

/// A tokenizer in Hugging Face's tokenizer.json: byte-level BPE (GPT-2, Llama 3, Qwen 2) and SentencePiece's BPE with byte
/// fallback (Llama 2). Ids are those of Hugging Face's own library.
///
/// `truncation` and `padding` in the file are not applied, as transformers does not either unless asked.
package struct Tokenizer: Sendable {
    private let normalizer: Normalizer?
    private let preTokenizer: [PreTokenizer]
    private let model: BytePairModel
    private let addedTokens: AddedTokens
    private let postProcessor: PostProcessor
    private let decoder: [TokenDecoder]?
    /// The model's tokens and the added ones.
    private let vocabulary: Vocabulary

    /// The token that begins a text, if the folder names one.
    package internal(set) var bosToken: Int32?
    /// The token that ends a text, if the folder names one.
    package internal(set) var eosToken: Int32?

    /// One more than the largest id. (A model may have more rows in its embedding.)
    package var vocabularySize: Int { vocabulary.size }

    /// Reads the document of a tokenizer.json.
    init(_ document: JSONValue) throws(TokenizerError) {
        let root = try TokenizerSection(document, at: "")
        normalizer = if let section = try root.section("normalizer") { try Normalizer(section) } else { nil }
        preTokenizer = if let section = try root.section("pre_tokenizer") { try PreTokenizer.steps(section) } else { [] }
        if let normalizer, !normalizer.keepsPlaces, preTokenizer.contains(where: \.marksFirstPlace) {
            throw root.failure(
                "pre_tokenizer",
                "marks the first word alone (\"prepend_scheme\": \"first\"), which is not supported behind a normalizer that "
                    + "puts text in front, or replaces other than one character by one")
        }
        guard let modelSection = try root.section("model") else { throw root.failure("model", "is missing") }
        let readsBytes = if case .byteLevel = preTokenizer.last { true } else { false }
        model = try BytePairModel(modelSection, alphabet: readsBytes ? .bytes : .scalars)
        var vocabulary = model.vocabulary
        addedTokens = try AddedTokens(
            root.sections("added_tokens", limit: .max), normalizer: normalizer, vocabulary: &vocabulary)
        guard vocabulary.size > 0 else { throw modelSection.failure("vocab", "is empty") }
        postProcessor =
            if let section = try root.section("post_processor") {
                try PostProcessor(section, vocabulary: vocabulary)
            } else {
                PostProcessor()
            }
        decoder = if let section = try root.section("decoder") { try TokenDecoder.steps(section) } else { nil }
        self.vocabulary = vocabulary
    }

    /// The id of a token, spelled as in the vocabulary.
    package func id(of token: String) -> Int32? { vocabulary[token] }

    /// The ids of a text, in O(n log n).
    ///
    /// - Parameter addSpecialTokens: whether to put the file's template around them (Llama 2: `<s>` in front).
    package func encode(_ text: String, addSpecialTokens: Bool) -> [Int32] {
        let ids = encode(text).ids
        return addSpecialTokens ? postProcessor.before + ids + postProcessor.after : ids
    }

    /// The ids of a text without the file's template, and what of the normalized text has no token.
    package func encode(_ text: String) -> (ids: [Int32], lost: LostText) {
        var encoder = PieceEncoder(model)
        let given = Array(text.utf8)
        for part in addedTokens.parts(ofGiven: given) {
            switch part {
            case .token(let id): encoder.ids.append(id)
            case .text(let range): encode(given, range, into: &encoder)
            }
        }
        return (encoder.ids, encoder.lost)
    }

    /// What the file's template puts around a text.
    package var template: (before: [Int32], after: [Int32]) { (postProcessor.before, postProcessor.after) }

    /// The one token that the file's template puts in front of a text, if it is one.
    var templateBegin: Int32? { postProcessor.before.count == 1 ? postProcessor.before[0] : nil }

    /// The name of a token, as in the vocabulary.
    package func name(of id: Int32) -> String? { vocabulary.token(id) }

    /// Whether the file's template begins each text with `bosToken`.
    package var templateBeginsText: Bool { bosToken != nil && postProcessor.before.first == bosToken }

    /// Encodes the text between added tokens that are matched before normalization.
    private func encode(_ given: [UInt8], _ part: Range<Int>, into encoder: inout PieceEncoder) {
        var (text, range) = (given, part)
        if let normalizer {
            text = normalizer.apply(to: given[part])
            range = text.indices
        }
        for inner in addedTokens.parts(ofNormalized: text, in: range) {
            switch inner {
            case .token(let id): encoder.ids.append(id)
            case .text(let piece):
                PreTokenizer.forEachPiece(
                    of: text, range: piece, isFirst: part.lowerBound == 0 && piece.lowerBound == range.lowerBound,
                    steps: preTokenizer[...]
                ) { encoder.append($0, $1) }
            }
        }
    }

    /// The text of ids. Ids without a token are left out; bytes that are not UTF-8 become U+FFFD.
    package func decode(_ ids: [Int32], skipSpecialTokens: Bool) -> String {
        let kept = skipSpecialTokens ? ids.filter { !addedTokens.specialIDs.contains($0) } : ids
        let tokens = kept.compactMap { vocabulary.token($0) }
        guard let decoder else { return tokens.joined(separator: " ") }
        let parts = decoder.reduce(tokens.map { Array($0.utf8) }) { $1.apply(to: $0) }
        return String(decoding: parts.joined(), as: UTF8.self)
    }
}

/// An encoding in progress; remembers short pieces, most of which come again.
private struct PieceEncoder {
    private let model: BytePairModel
    private var known: [UTF8Key: (ids: [Int32], lost: LostText)] = [:]
    private(set) var lost = LostText()
    var ids: [Int32] = []
    /// Longer pieces seldom come twice.
    private static let rememberedLength = 64
    private static let rememberedCount = 1 << 17

    init(_ model: BytePairModel) { self.model = model }

    mutating func append(_ text: [UInt8], _ range: Range<Int>) {
        model.forEachWord(of: text, range) { word in
            guard word.count <= Self.rememberedLength else {
                add(model.encode(text, word))
                return
            }
            let key = UTF8Key(String(decoding: text[word], as: UTF8.self))
            if let remembered = known[key] {
                add(remembered)
                return
            }
            let encoded = model.encode(text, word)
            if known.count < Self.rememberedCount { known[key] = encoded }
            add(encoded)
        }
    }

    private mutating func add(_ piece: (ids: [Int32], lost: LostText)) {
        ids += piece.ids
        lost += piece.lost
    }
}
