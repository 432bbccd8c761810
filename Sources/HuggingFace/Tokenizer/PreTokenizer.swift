internal import Support

/// Cuts a normalized text into the pieces within which tokens are merged.
enum PreTokenizer: Sendable {
    /// Pieces are the matches of a pattern and what is between them, put together as the splitter says.
    case split(Splitter)
    /// Byte-level BPE: a space in front if wanted, then GPT-2's pattern if wanted; the model reads the pieces as bytes.
    case byteLevel(addPrefixSpace: Bool, pattern: SplitPattern?)
    case metaspace(Metaspace)

    /// The steps a `pre_tokenizer` describes, in order.
    static func steps(_ section: TokenizerSection) throws(TokenizerError) -> [PreTokenizer] {
        var steps: [PreTokenizer] = []
        for step in try section.steps("pretokenizers") { steps.append(try PreTokenizer(step)) }
        for (i, step) in steps.enumerated() {
            if case .byteLevel = step, i + 1 < steps.count {
                throw section.failure("pretokenizers", "ByteLevel is supported only as the last step")
            }
        }
        return steps
    }

    private init(_ section: TokenizerSection) throws(TokenizerError) {
        switch try section.type {
        case "Split": self = .split(try Splitter(section))
        case "Digits": self = .split(.digits(individually: try section.flag("individual_digits", default: false)))
        case "ByteLevel":
            let usesPattern = try section.flag("use_regex", default: true)
            let addPrefixSpace = try section.flag("add_prefix_space", default: true)
            self = .byteLevel(addPrefixSpace: addPrefixSpace, pattern: usesPattern ? .gpt2 : nil)
        case "Metaspace": self = .metaspace(try Metaspace(section))
        case let type: throw section.unknownType(type, known: "ByteLevel, Digits, Metaspace, Split and Sequence")
        }
    }

    /// Whether it treats the place where a text begins, as it was given, in another way than others.
    var marksFirstPlace: Bool {
        if case .metaspace(let metaspace) = self { metaspace.prepend == .first } else { false }
    }

    /// Calls `body` with each piece of a part of a text, none of them empty, in order. Text may have been put in front: pieces
    /// come as ranges of a text of their own.
    ///
    /// - Parameter isFirst: whether the part is the beginning of what the user gave.
    static func forEachPiece(
        of text: [UInt8], range: Range<Int>, isFirst: Bool, steps: ArraySlice<PreTokenizer>,
        _ body: ([UInt8], Range<Int>) -> Void
    ) {
        guard !range.isEmpty else { return }
        guard let step = steps.first else { return body(text, range) }
        let rest = steps.dropFirst()
        func pass(_ text: [UInt8], _ range: Range<Int>, isFirst: Bool) {
            forEachPiece(of: text, range: range, isFirst: isFirst, steps: rest, body)
        }
        switch step {
        case .split(let splitter):
            splitter.forEachPiece(of: text, range: range) { piece in
                pass(text, piece, isFirst: isFirst && piece.lowerBound == range.lowerBound)
            }
        case .byteLevel(let addPrefixSpace, let pattern):
            var text = text, range = range
            if addPrefixSpace, text[range.lowerBound] != UInt8(ascii: " ") {
                text = [UInt8(ascii: " ")] + text[range]
                range = text.indices
            }
            guard let pattern else { return pass(text, range, isFirst: isFirst) }
            pattern.forEachPart(in: text, range: range) { part, _ in pass(text, part, isFirst: false) }
        case .metaspace(let metaspace):
            let marked = metaspace.mark(text[range], isFirst: isFirst)
            metaspace.forEachWord(of: marked) { pass(marked, $0, isFirst: isFirst && $0.lowerBound == 0) }
        }
    }
}

/// What the matches of a pattern become, and what is between them (`Split`, `Digits`).
struct Splitter: Sendable {
    enum Behavior: String, CaseIterable {
        /// Each is a piece.
        case isolated = "Isolated"
        /// Matches are left out.
        case removed = "Removed"
        /// A match, the first of several in a row, is joined to what is before it.
        case mergedWithPrevious = "MergedWithPrevious"
        /// A match, the last of several in a row, is joined to what follows it.
        case mergedWithNext = "MergedWithNext"
        /// Matches in a row are one piece.
        case contiguous = "Contiguous"
    }

    let pattern: SplitPattern
    let behavior: Behavior
    /// Whether what is between the matches is taken for the matches.
    let inverts: Bool

    /// Digits of all scripts, fractions and the like, each alone or those in a row together.
    static func digits(individually: Bool) -> Splitter {
        Splitter(pattern: .digit, behavior: individually ? .isolated : .contiguous, inverts: false)
    }

    private init(pattern: SplitPattern, behavior: Behavior, inverts: Bool) {
        (self.pattern, self.behavior, self.inverts) = (pattern, behavior, inverts)
    }

    init(_ section: TokenizerSection) throws(TokenizerError) {
        let given = try section.section("pattern")
        if let literal = given?["String"]?.string {
            guard !literal.isEmpty else { throw section.failure("pattern", "is empty") }
            guard literal.unicodeScalars.count <= SplitPattern.longest else {
                throw section.failure("pattern", "has more than \(SplitPattern.longest) characters, which are not accepted")
            }
            pattern = SplitPattern(literal: literal)
        } else if let regex = given?["Regex"]?.string {
            guard let known = SplitPattern(regex: regex) else {
                throw section.failure(
                    "pattern",
                    "the regular expression \(regex) is not supported; supported are those of GPT-2, GPT-4, GPT-4o, Llama 3, "
                        + "Qwen 2 to 3.5, Tekken, DeepSeek V1 to V3, and others made of the same parts")
            }
            pattern = known
        } else {
            throw section.failure("pattern", "is neither {\"Regex\": …} nor {\"String\": …}")
        }
        let name = try section.string("behavior")
        guard let behavior = Behavior(rawValue: name) else {
            let known = Behavior.allCases.map(\.rawValue).joined(separator: ", ")
            throw section.failure("behavior", "\"\(name)\" is not supported; supported are \(known)")
        }
        self.behavior = behavior
        inverts = try section.flag("invert", default: false)
    }

    /// Calls `body` with each piece, in order, none of them empty.
    func forEachPiece(of text: [UInt8], range: Range<Int>, _ body: (Range<Int>) -> Void) {
        switch behavior {
        case .isolated: pattern.forEachPart(in: text, range: range) { part, _ in body(part) }
        case .removed: pattern.forEachPart(in: text, range: range) { part, isMatch in if isMatch == inverts { body(part) } }
        case .mergedWithPrevious, .mergedWithNext, .contiguous:
            var parts: [(range: Range<Int>, isMatch: Bool)] = []
            pattern.forEachPart(in: text, range: range) { parts.append(($0, $1 != inverts)) }
            for piece in joined(parts) { body(piece) }
        }
    }

    /// Parts that lie next to each other, joined as Hugging Face's library does.
    private func joined(_ parts: [(range: Range<Int>, isMatch: Bool)]) -> [Range<Int>] {
        var pieces: [Range<Int>] = []
        var previousIsMatch = false
        let isBackward = behavior == .mergedWithNext
        for part in isBackward ? parts.reversed() : parts {
            let joins = behavior == .contiguous ? part.isMatch == previousIsMatch : part.isMatch && !previousIsMatch
            if joins, let neighbor = pieces.last {
                pieces[pieces.count - 1] =
                    isBackward ? part.range.lowerBound..<neighbor.upperBound : neighbor.lowerBound..<part.range.upperBound
            } else {
                pieces.append(part.range)
            }
            previousIsMatch = part.isMatch
        }
        return isBackward ? pieces.reversed() : pieces
    }
}
