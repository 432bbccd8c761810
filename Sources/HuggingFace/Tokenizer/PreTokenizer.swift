/// Cuts a normalised text into the pieces within which tokens are merged.
enum PreTokenizer: Sendable {
    /// Each match of a known pattern is a piece.
    case split(SplitPattern)
    /// Byte-level BPE: a space in front if wanted, then GPT-2's pattern if wanted; the model reads the pieces as bytes.
    case byteLevel(addPrefixSpace: Bool, pattern: SplitPattern?)
    case metaspace(Metaspace)

    /// The steps a `pre_tokenizer` describes, in order.
    static func steps(_ section: TokenizerSection) throws(TokenizerError) -> [PreTokenizer] {
        let steps = try flattened(section)
        for (i, step) in steps.enumerated() {
            if case .byteLevel = step, i + 1 < steps.count {
                throw section.failure("pretokenizers", "ByteLevel is supported only as the last step")
            }
        }
        return steps
    }

    private static func flattened(_ section: TokenizerSection) throws(TokenizerError) -> [PreTokenizer] {
        switch try section.type {
        case "Sequence":
            var steps: [PreTokenizer] = []
            for step in try section.sections("pretokenizers") { steps += try flattened(step) }
            return steps
        case "Split": return [.split(try split(section))]
        case "ByteLevel":
            let usesPattern = try section.flag("use_regex", default: true)
            let addPrefixSpace = try section.flag("add_prefix_space", default: true)
            return [.byteLevel(addPrefixSpace: addPrefixSpace, pattern: usesPattern ? .gpt2 : nil)]
        case "Metaspace": return [.metaspace(try Metaspace(section))]
        case let type: throw section.unknownType(type, known: "ByteLevel, Metaspace, Split and Sequence")
        }
    }

    private static func split(_ section: TokenizerSection) throws(TokenizerError) -> SplitPattern {
        guard let regex = try section.section("pattern")?["Regex"]?.string else {
            throw section.failure("pattern", "is not {\"Regex\": …}, the only kind supported here")
        }
        guard let pattern = SplitPattern(regex: regex) else {
            throw section.failure(
                "pattern", "the regular expression \(regex) is none of the known ones (GPT-2, Llama 3, Qwen 2)")
        }
        let behavior = try section.string("behavior")
        guard behavior == "Isolated" else { throw section.failure("behavior", "\"\(behavior)\" is not supported; Isolated is") }
        guard try !section.flag("invert", default: false) else { throw section.failure("invert", "true is not supported") }
        return pattern
    }

    /// Calls `body` with each piece, none of them empty, in order. Text may have been put in front: pieces come as ranges of
    /// a text of their own.
    ///
    /// - Parameter isFirst: whether `text` is the beginning of what the user gave.
    static func forEachPiece(
        of text: [UInt8], isFirst: Bool, steps: ArraySlice<PreTokenizer>, _ body: ([UInt8], Range<Int>) -> Void
    ) {
        forEachPiece(of: text, range: text.indices, isFirst: isFirst, steps: steps, body)
    }

    private static func forEachPiece(
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
        case .split(let pattern):
            pattern.forEachMatch(in: text, range: range) { match in
                pass(text, match, isFirst: isFirst && match.lowerBound == range.lowerBound)
            }
        case .byteLevel(let addPrefixSpace, let pattern):
            var text = text, range = range
            if addPrefixSpace, text[range.lowerBound] != UInt8(ascii: " ") {
                text = [UInt8(ascii: " ")] + text[range]
                range = text.indices
            }
            guard let pattern else { return pass(text, range, isFirst: isFirst) }
            pattern.forEachMatch(in: text, range: range) { pass(text, $0, isFirst: false) }
        case .metaspace(let metaspace):
            let marked = metaspace.mark(text[range], isFirst: isFirst)
            metaspace.forEachWord(of: marked) { pass(marked, $0, isFirst: isFirst && $0.lowerBound == 0) }
        }
    }
}

extension SplitPattern {
    func forEachMatch(in text: [UInt8], range: Range<Int>, _ body: (Range<Int>) -> Void) {
        var start = range.lowerBound
        while start < range.upperBound {
            let end = end(in: text, range: range, from: start)
            body(start..<end)
            start = end
        }
    }
}
