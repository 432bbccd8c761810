/// A regular expression, compiled: alternatives tried in order, each a sequence of sets of characters with greedy or possessive
/// counts, of literals, and of looks ahead.
///
/// Nothing is nested, so that an attempt backtracks over one run at a time.
struct SplitProgram: Sendable {
    enum Node: Sendable, Equatable {
        /// `[…]{least,most}`; a possessive one gives nothing back.
        case run(CharacterSet, least: Int, most: Int, possessive: Bool)
        /// `(?:…|…)`, or `(?:…|…)?`: one of several literals, each a set a character.
        case oneOf([[CharacterSet]], isOptional: Bool)
        /// `(?!…)`
        case notBefore(CharacterSet)
        /// `$`: the text ends, or a line feed follows.
        case lineEnd
    }

    private let alternatives: [[Node]]
    /// By the kind of the first character, the alternatives that may begin with it, a bit each.
    private let candidates: [UInt64]
    private let table = CharacterTable.shared

    /// - Precondition: at most 64 alternatives, none of which matches nothing.
    init(_ alternatives: [[Node]]) {
        precondition(alternatives.count <= 64, "\(alternatives.count) alternatives")
        self.alternatives = alternatives
        let firsts = alternatives.map(Self.firstKinds)
        candidates = (0..<CharacterTable.kinds).map { kind in
            firsts.enumerated().reduce(0) { $1.element.contains(kind) ? $0 | 1 << UInt64($1.offset) : $0 }
        }
    }

    /// The kinds of character a match can begin with.
    private static func firstKinds(_ nodes: [Node]) -> KindSet {
        var kinds = KindSet()
        for node in nodes {
            switch node {
            case .run(let set, let least, _, _):
                kinds.formUnion(set.possibleKinds)
                if least > 0 { return kinds }
            case .oneOf(let literals, let isOptional):
                for literal in literals { kinds.formUnion(literal[0].possibleKinds) }
                if !isOptional { return kinds }
            case .notBefore, .lineEnd: break
            }
        }
        preconditionFailure("an alternative matches nothing")
    }

    /// The end of the match that begins at `start`; nil if there is none.
    ///
    /// - Precondition: `text` is valid UTF-8 up to `limit`, and `start < limit` begins a character.
    func end(in text: [UInt8], from start: Int, limit: Int) -> Int? {
        let (_, kind, _) = table.character(in: text, at: start)
        var remaining = candidates[Int(kind)]
        while remaining != 0 {
            let index = remaining.trailingZeroBitCount
            remaining &= remaining - 1
            if let end = match(alternatives[index], 0, in: text, at: start, limit: limit) { return end }
        }
        return nil
    }

    /// Matches `nodes[first...]`.
    private func match(_ nodes: [Node], _ first: Int, in text: [UInt8], at start: Int, limit: Int) -> Int? {
        guard first < nodes.count else { return start }
        switch nodes[first] {
        case .run(let set, let least, let most, let possessive):
            var position = start, taken = 0
            while taken < most, position < limit {
                let next = table.character(in: text, at: position)
                guard set.contains(next.scalar, kind: next.kind) else { break }
                position += next.length
                taken += 1
            }
            while taken >= least {
                if let end = match(nodes, first + 1, in: text, at: position, limit: limit) { return end }
                guard !possessive, taken > least else { return nil }
                position = UTF8Text.start(in: text, before: position)
                taken -= 1
            }
            return nil
        case .oneOf(let literals, let isOptional):
            for literal in literals {
                if let end = end(of: literal, in: text, at: start, limit: limit),
                    let end = match(nodes, first + 1, in: text, at: end, limit: limit)
                {
                    return end
                }
            }
            return isOptional ? match(nodes, first + 1, in: text, at: start, limit: limit) : nil
        case .notBefore(let set):
            if start < limit {
                let next = table.character(in: text, at: start)
                if set.contains(next.scalar, kind: next.kind) { return nil }
            }
            return match(nodes, first + 1, in: text, at: start, limit: limit)
        case .lineEnd:
            guard start == limit || text[start] == UInt8(ascii: "\n") else { return nil }
            return match(nodes, first + 1, in: text, at: start, limit: limit)
        }
    }

    /// Where the characters of a set end that begin at `start`.
    func end(of set: CharacterSet, in text: [UInt8], from start: Int, limit: Int) -> Int {
        var position = start
        while position < limit {
            let next = table.character(in: text, at: position)
            guard set.contains(next.scalar, kind: next.kind) else { break }
            position += next.length
        }
        return position
    }

    private func end(of literal: [CharacterSet], in text: [UInt8], at start: Int, limit: Int) -> Int? {
        var position = start
        for set in literal {
            guard position < limit else { return nil }
            let next = table.character(in: text, at: position)
            guard set.contains(next.scalar, kind: next.kind) else { return nil }
            position += next.length
        }
        return position
    }
}
