/// The regular expressions pre-tokenisers are known to use, each as a scanner that reads the text once.
///
/// Any other expression is refused: it could be written to take exponential time.
enum SplitPattern: CaseIterable, Sendable {
    case gpt2
    case llama3
    /// Llama 3's, with each digit alone.
    case qwen2

    /// The expression, in Oniguruma's syntax. Alternatives are tried in order; each position of a text matches one.
    var regex: String {
        switch self {
        case .gpt2: #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
        case .llama3: Self.modern(digits: #"\p{N}{1,3}"#)
        case .qwen2: Self.modern(digits: #"\p{N}"#)
        }
    }

    private static func modern(digits: String) -> String {
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"# + digits
            + #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    }

    init?(regex: String) {
        guard let known = Self.allCases.first(where: { $0.regex.utf8.elementsEqual(regex.utf8) }) else { return nil }
        self = known
    }

    /// The end of the match that begins at `start`.
    ///
    /// - Precondition: `range` is valid UTF-8 and contains `start`.
    func end(in text: [UInt8], range: Range<Int>, from start: Int) -> Int {
        let scanner = SplitScanner(text: text, limit: range.upperBound)
        return switch self {
        case .gpt2: scanner.gpt2(start)
        case .llama3: scanner.modern(start, digits: 3)
        case .qwen2: scanner.modern(start, digits: 1)
        }
    }
}

/// The alternatives of the patterns; each returns where its match ends, or nil.
private struct SplitScanner {
    let text: [UInt8]
    let limit: Int

    func gpt2(_ start: Int) -> Int {
        if let end = contraction(start, ignoringCase: false) { return end }
        let first = character(start)
        let body = text[start] == UInt8(ascii: " ") ? start + 1 : start
        let leading = body == start ? first.class : character(body).class
        switch leading {
        case .letter, .number, .other: return run(of: leading, from: body)
        case .newline, .space, .end: return whitespace(start)
        }
    }

    func modern(_ start: Int, digits: Int) -> Int {
        if let end = contraction(start, ignoringCase: true) { return end }
        let first = character(start)
        switch first.class {
        case .letter: return run(of: .letter, from: start)
        case .number: return run(of: .number, from: start, atMost: digits)
        case .other:
            if character(first.end).class == .letter { return run(of: .letter, from: first.end) }
            return newlines(run(of: .other, from: start))
        case .space:
            let second = character(first.end)
            if second.class == .letter { return run(of: .letter, from: first.end) }
            if second.class == .other, text[start] == UInt8(ascii: " ") { return newlines(run(of: .other, from: first.end)) }
            return endOfLastNewline(start) ?? whitespace(start)
        case .newline, .end:
            return endOfLastNewline(start) ?? whitespace(start)
        }
    }

    /// The class of the character at `position`, and where it ends.
    private func character(_ position: Int) -> (class: CharacterClass, end: Int) {
        guard position < limit else { return (.end, position) }
        let (scalar, length) = UTF8Text.scalar(in: text, at: position)
        return (CharacterClass(scalar), position + length)
    }

    /// `c+`, or `c{1,n}`.
    private func run(of wanted: CharacterClass, from start: Int, atMost most: Int = .max) -> Int {
        var position = start, taken = 0
        while taken < most {
            let next = character(position)
            guard next.class == wanted else { break }
            position = next.end
            taken += 1
        }
        return position
    }

    /// `[\r\n]*`
    private func newlines(_ start: Int) -> Int { run(of: .newline, from: start) }

    /// `\s+(?!\S)|\s+`: all the white space at the end of a text; elsewhere its last character is left to the next match.
    private func whitespace(_ start: Int) -> Int {
        var last = start
        var next = character(start)
        while next.class.isWhitespace {
            let after = character(next.end)
            if after.class == .end { return next.end }
            if !after.class.isWhitespace { break }
            last = next.end
            next = after
        }
        return last > start ? last : next.end
    }

    /// `\s*[\r\n]+`: the white space up to and with its last newline.
    private func endOfLastNewline(_ start: Int) -> Int? {
        var end: Int?
        var next = character(start)
        while next.class.isWhitespace {
            if next.class == .newline { end = next.end }
            next = character(next.end)
        }
        return end
    }

    /// `'s|'t|'re|'ve|'m|'ll|'d`
    private func contraction(_ start: Int, ignoringCase: Bool) -> Int? {
        guard text[start] == UInt8(ascii: "'"), start + 1 < limit else { return nil }
        // Case-insensitively, "s" matches the long s too (U+017F), which Unicode folds to it.
        if ignoringCase, start + 2 < limit, text[start + 1] == 0xC5, text[start + 2] == 0xBF { return start + 3 }
        func letter(_ position: Int) -> UInt8 {
            guard position < limit else { return 0 }
            let byte = text[position]
            return ignoringCase && (0x41...0x5A).contains(byte) ? byte | 0x20 : byte
        }
        switch (letter(start + 1), letter(start + 2)) {
        case (UInt8(ascii: "s"), _), (UInt8(ascii: "t"), _), (UInt8(ascii: "m"), _), (UInt8(ascii: "d"), _): return start + 2
        case (UInt8(ascii: "r"), UInt8(ascii: "e")), (UInt8(ascii: "v"), UInt8(ascii: "e")): return start + 3
        case (UInt8(ascii: "l"), UInt8(ascii: "l")): return start + 3
        default: return nil
        }
    }
}
