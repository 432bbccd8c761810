/// A regular expression that a pre-tokenizer cuts text with, in a part of Oniguruma's syntax: alternatives of sequences of
///
/// - characters, `[…]`, `\p{…}`, `\s`, `\d`, `\r`, `\n`, `\t`, with `?`, `*`, `+`, `{m}`, `{m,n}` or a possessive `?+`, `*+`,
///   `++`;
/// - groups of literals `(?:…|…)`, `(?i:…|…)`, with or without `?`;
/// - at the end, `(?!\S)` and the like, or `$` for the end of a line.
///
/// The known tokenizers' are of this kind (GPT-2, GPT-4, GPT-4o, Llama 3, Qwen 2 to 3.5, Tekken, DeepSeek V1 to V3). What is
/// outside, or could take more than time in proportion to the text, is refused.
struct SplitPattern: Sendable {
    private let program: SplitProgram
    /// Of an expression that is a run without limit and looks behind it: that run. Where no match begins at a character, none
    /// begins at the others of the same run, which end where it does.
    private let soleRun: CharacterSet?

    /// The longest expression or text that is accepted, in characters.
    static let longest = 1024
    /// Ways that an expression may try at a place before it fails there; those of the known tokenizers try at most 15.
    private static let mostWays = 64

    static let gpt2 = supported(#"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#)
    /// A digit, fraction or the like, as the step `Digits` takes it, which knows those of Unicode 17 too.
    static let digit = supported("[\\p{N}\u{11DE0}-\u{11DE9}\u{16FF4}-\u{16FF6}]")

    private static func supported(_ regex: String) -> SplitPattern {
        guard let pattern = SplitPattern(regex: regex) else { preconditionFailure("\(regex) is supported") }
        return pattern
    }

    /// nil for an expression that is not supported.
    init?(regex: String) {
        guard regex.unicodeScalars.count <= Self.longest else { return nil }
        var parser = RegexParser(regex)
        guard let alternatives = parser.alternatives(), (1...64).contains(alternatives.count) else { return nil }
        guard alternatives.allSatisfy({ $0.contains(where: \.takesSomething) }) else { return nil }
        guard alternatives.reduce(0, { $0 + Self.ways($1) }) <= Self.mostWays else { return nil }
        soleRun = Self.soleRun(alternatives)
        for (index, nodes) in alternatives.enumerated() where soleRun == nil {
            guard Self.isLinear(nodes, before: alternatives[(index + 1)...]) else { return nil }
        }
        program = SplitProgram(alternatives)
    }

    /// A text to be found as it is. - Precondition: it is not empty.
    init(literal: String) {
        program = SplitProgram([[.oneOf([literal.unicodeScalars.map { CharacterSet($0) }], isOptional: false)]])
        soleRun = nil
    }

    private static func soleRun(_ alternatives: [[SplitProgram.Node]]) -> CharacterSet? {
        guard alternatives.count == 1, case .run(let set, 1, .max, _) = alternatives[0][0],
            alternatives[0].dropFirst().allSatisfy(\.isLook)
        else { return nil }
        return set
    }

    /// Ways through the parts of an alternative that are not without limit and after which something can fail: their product
    /// is what can be tried in vain, `a?a?a?b` 8 times. No more than `mostWays` + 1.
    private static func ways(_ nodes: [SplitProgram.Node]) -> Int {
        let last = nodes.lastIndex(where: \.canFail) ?? 0
        return nodes[..<last].reduce(1) { min($0 * $1.ways, mostWays + 1) }
    }

    /// Whether an alternative takes time in proportion to what is consumed in the end.
    ///
    /// It does if nothing can fail after a run without limit. Else it may have read a long run in vain: then an alternative
    /// after it, with none but the like between, must take all of that run.
    private static func isLinear(_ nodes: [SplitProgram.Node], before later: ArraySlice<[SplitProgram.Node]>) -> Bool {
        let endless = nodes.indices.filter { nodes[$0].isEndless }
        guard let first = endless.first, nodes[(first + 1)...].contains(where: \.canFail) else { return true }
        // Behind the run that gives characters back may be a look at a few characters, or a run that nothing fails after.
        guard nodes[(first + 1)...].allSatisfy(\.looksAtOneCharacter), endless.count <= 2 else { return false }
        if endless.count == 2, nodes[(endless[1] + 1)...].contains(where: \.canFail) { return false }
        return later.prefix { other in
            other.count > first && other[..<first] == nodes[..<first] && other[first].runsLike(nodes[first])
        }.contains { !$0[(first + 1)...].contains(where: \.canFail) }
    }

    /// Calls `body` with the matches and what is between them, in order, none of them empty; together they are `range`.
    ///
    /// - Precondition: `range` is valid UTF-8.
    func forEachPart(in text: [UInt8], range: Range<Int>, _ body: (Range<Int>, _ isMatch: Bool) -> Void) {
        var done = range.lowerBound, position = range.lowerBound
        while position < range.upperBound {
            guard let end = program.end(in: text, from: position, limit: range.upperBound) else {
                position = soleRun.map { program.end(of: $0, in: text, from: position, limit: range.upperBound) } ?? position
                if position < range.upperBound { position += UTF8Text.length(of: text[position]) }
                continue
            }
            if done < position { body(done..<position, false) }
            body(position..<end, true)
            (done, position) = (end, end)
        }
        if done < range.upperBound { body(done..<range.upperBound, false) }
    }
}

extension SplitProgram.Node {
    /// Whether a match of it is never empty.
    fileprivate var takesSomething: Bool {
        switch self {
        case .run(_, let least, _, _): least > 0
        case .oneOf(_, let isOptional): !isOptional
        case .notBefore, .lineEnd: false
        }
    }

    /// Whether it tests what follows without consuming it.
    fileprivate var isLook: Bool {
        switch self {
        case .notBefore, .lineEnd: true
        case .run, .oneOf: false
        }
    }

    /// In how many ways it may go on at a place, each at most once; 1 for a run without limit.
    fileprivate var ways: Int {
        switch self {
        case .run(_, let least, let most, let possessive): possessive || most == .max ? 1 : most - least + 1
        case .oneOf(let literals, let isOptional): literals.count + (isOptional ? 1 : 0)
        case .notBefore, .lineEnd: 1
        }
    }

    fileprivate var canFail: Bool { isLook || takesSomething }

    fileprivate var isEndless: Bool {
        if case .run(_, _, .max, _) = self { true } else { false }
    }

    /// Whether it fails, where it does, at the first character, or at one of a literal's.
    fileprivate var looksAtOneCharacter: Bool {
        if case .run(_, let least, _, _) = self { least <= 1 } else { true }
    }

    /// Whether it takes a run without limit of the same characters, one or none at least.
    fileprivate func runsLike(_ other: SplitProgram.Node) -> Bool {
        guard case .run(let set, _, .max, _) = other, case .run(set, 0...1, .max, _) = self else { return false }
        return true
    }
}
