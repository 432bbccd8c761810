/// A regular expression of compressed-tensors' `targets` and `ignore`, in the regular part of Python's syntax: characters, `.`,
/// `[…]`, `\d`, `\w`, `\s` and their negations, `(…)`, `(?:…)`, `|`, `*`, `+`, `?`, `{m}`, `{m,}`, `{m,n}`, `^` and `$`.
///
/// The expression comes from a file, so that matching has to be fast for any expression. It becomes a nondeterministic
/// automaton whose states are followed all at once (Thompson, CACM 11(6), 1968), in time proportional to its ``size`` times the
/// name's length; ``limit`` bounds the size. Swift's `Regex` backtracks: `(a+)+$` takes twice as long for every further
/// character of a name. Its literals and classes match grapheme clusters, not characters as in Python.
///
/// Names of layers are ASCII. Therefore `\d`, `\w` and `\s` match only ASCII, whereas Python's match Unicode.
struct NameExpression: Equatable {
    /// Why an expression is not supported.
    struct Refusal: Error, Equatable {
        /// The position of the character where parsing fails, from 1.
        let position: Int
        let problem: String
    }

    /// The most states of an expression.
    static let limit = 4096

    enum Instruction: Equatable {
        case one(of: CharacterRanges)
        case split(Int, Int)
        case jump(Int)
        /// `^`: at the beginning.
        case beginning
        /// `$`: at the end, or before a line feed that ends the name.
        case end
        case match
    }

    private let program: [Instruction]

    /// States of the automaton, to which the time for matching is proportional.
    var size: Int { program.count }

    /// - Throws: ``Refusal`` for what Python refuses, for what is not a regular language, and for syntax that is not listed
    ///   above.
    init(_ text: String) throws(Refusal) {
        var parser = NameExpressionParser(text)
        let node = try parser.whole()
        var program: [Instruction] = []
        Self.append(node, to: &program)
        self.program = program + [.match]
    }

    private static func append(_ node: NameExpressionParser.Node, to program: inout [Instruction]) {
        switch node {
        case .one(let set): program.append(.one(of: set))
        case .beginning: program.append(.beginning)
        case .end: program.append(.end)
        case .sequence(let nodes): for node in nodes { append(node, to: &program) }
        case .either(let choices):
            var jumps: [Int] = []
            for (index, choice) in choices.enumerated() {
                let split = program.count
                let isLast = index == choices.count - 1
                if !isLast { program.append(.split(split + 1, split)) }
                append(choice, to: &program)
                guard !isLast else { break }
                jumps.append(program.count)
                program.append(.jump(0))
                program[split] = .split(split + 1, program.count)
            }
            for jump in jumps { program[jump] = .jump(program.count) }
        case .repeated(let inner, let least, let most):
            for _ in 0..<least { append(inner, to: &program) }
            guard let most else {
                let split = program.count
                program.append(.split(split + 1, split))
                append(inner, to: &program)
                program.append(.jump(split))
                program[split] = .split(split + 1, program.count)
                return
            }
            var splits: [Int] = []
            for _ in least..<most {
                splits.append(program.count)
                program.append(.split(program.count + 1, 0))
                append(inner, to: &program)
            }
            for split in splits { program[split] = .split(split + 1, program.count) }
        }
    }

    /// Whether it matches from the beginning of the name, as Python's `re.match` does.
    func matches(_ name: String) -> Bool {
        let name = name.unicodeScalars.map(\.value)
        var states = States(count: program.count)
        var current: [Int] = []
        if follow(0, at: 0, name, &states, &current) { return true }
        for position in name.indices {
            guard !current.isEmpty else { return false }
            var next: [Int] = []
            states.begin()
            for state in current {
                guard case .one(let set) = program[state], set.contains(name[position]) else { continue }
                if follow(state + 1, at: position + 1, name, &states, &next) { return true }
            }
            current = next
        }
        return false
    }

    /// The states that have been reached at the current position in the name.
    private struct States {
        private var met: [Int]
        private var round = 1

        init(count: Int) { met = [Int](repeating: 0, count: count) }

        mutating func begin() { round += 1 }

        /// Whether a state is new.
        mutating func insert(_ state: Int) -> Bool {
            defer { met[state] = round }
            return met[state] != round
        }
    }

    /// Adds the states that consume a character and are reachable from `first` without consuming one. True if a match is
    /// reachable, too.
    private func follow(
        _ first: Int, at position: Int, _ name: [UInt32], _ states: inout States, _ taking: inout [Int]
    ) -> Bool {
        var pending = [first]
        while let state = pending.popLast() {
            guard states.insert(state) else { continue }
            switch program[state] {
            case .one: taking.append(state)
            case .split(let one, let other): pending += [other, one]
            case .jump(let target): pending.append(target)
            case .beginning: if position == 0 { pending.append(state + 1) }
            case .end:
                let isLast = position == name.count - 1 && name[position] == CharacterRanges.lineFeed
                if position == name.count || isLast { pending.append(state + 1) }
            case .match: return true
            }
        }
        return false
    }
}

/// A set of characters.
struct CharacterRanges: Equatable {
    private(set) var ranges: [ClosedRange<UInt32>]

    static let lineFeed: UInt32 = 0x0A
    private static let last: UInt32 = 0x10FFFF

    init(_ ranges: [ClosedRange<UInt32>] = []) { self.ranges = ranges }

    init(_ one: Unicode.Scalar) { self.init([one.value...one.value]) }

    /// `.`
    static let anyCharacter = CharacterRanges([lineFeed...lineFeed]).negated

    /// `\d`, `\w` and `\s`, and with capitals their negations.
    static func named(_ letter: Unicode.Scalar) -> CharacterRanges? {
        switch letter {
        case "d": CharacterRanges([0x30...0x39])
        case "w": CharacterRanges([0x30...0x39, 0x41...0x5A, 0x5F...0x5F, 0x61...0x7A])
        case "s": CharacterRanges([0x09...0x0D, 0x20...0x20])
        case "D", "W", "S": named(Unicode.Scalar(letter.value + 0x20) ?? letter)?.negated
        default: nil
        }
    }

    var negated: CharacterRanges {
        var (result, first) = (CharacterRanges(), UInt32(0))
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if range.lowerBound > first { result.ranges.append(first...range.lowerBound - 1) }
            first = max(first, range.upperBound + 1)
        }
        if first <= Self.last { result.ranges.append(first...Self.last) }
        return result
    }

    mutating func formUnion(_ other: CharacterRanges) { ranges += other.ranges }

    func contains(_ scalar: UInt32) -> Bool { ranges.contains { $0.contains(scalar) } }
}
