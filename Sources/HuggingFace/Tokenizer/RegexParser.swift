/// Reads a regular expression; each function returns nil where it is not supported.
struct RegexParser {
    private let scalars: [Unicode.Scalar]
    private var position = 0

    init(_ text: String) { scalars = Array(text.unicodeScalars) }

    private var next: Unicode.Scalar? { position < scalars.count ? scalars[position] : nil }

    /// Whether the text continues with `word`, which is then read.
    private mutating func take(_ word: String) -> Bool {
        let wanted = Array(word.unicodeScalars)
        guard scalars[position...].starts(with: wanted) else { return false }
        position += wanted.count
        return true
    }

    mutating func alternatives() -> [[SplitProgram.Node]]? {
        var alternatives: [[SplitProgram.Node]] = [[]]
        while next != nil {
            if take("|") {
                alternatives.append([])
            } else {
                guard let node = node() else { return nil }
                alternatives[alternatives.count - 1].append(node)
            }
        }
        return alternatives
    }

    private mutating func node() -> SplitProgram.Node? {
        if take("(?i:") { return group(ignoringCase: true) }
        if take("(?:") { return group(ignoringCase: false) }
        if take("(?!") {
            guard let set = set(), take(")") else { return nil }
            return .notBefore(set)
        }
        if take("$") { return .lineEnd }
        guard let set = set() else { return nil }
        return quantified(set)
    }

    private mutating func quantified(_ set: CharacterSet) -> SplitProgram.Node? {
        let (least, most): (Int, Int)
        if take("?") {
            (least, most) = (0, 1)
        } else if take("*") {
            (least, most) = (0, .max)
        } else if take("+") {
            (least, most) = (1, .max)
        } else if take("{") {
            guard let counts = counts() else { return nil }
            // What may follow has another meaning here than possession and laziness.
            guard next != "+", next != "?", next != "*" else { return nil }
            return .run(set, least: counts.lowerBound, most: counts.upperBound, possessive: false)
        } else {
            return .run(set, least: 1, most: 1, possessive: false)
        }
        let possessive = take("+")
        guard next != "?", next != "*", next != "+", next != "{" else { return nil }
        return .run(set, least: least, most: most, possessive: possessive)
    }

    /// `m}` or `m,n}`, not large.
    private mutating func counts() -> ClosedRange<Int>? {
        guard let least = number() else { return nil }
        var most = least
        if take(",") {
            guard let number = number() else { return nil }
            most = number
        }
        guard take("}"), least <= most, (1...16).contains(most) else { return nil }
        return least...most
    }

    private mutating func number() -> Int? {
        var digits = ""
        while let scalar = next, ("0"..."9").contains(scalar), digits.count < 3 {
            digits.unicodeScalars.append(scalar)
            position += 1
        }
        return Int(digits)
    }

    /// The literals of a group, up to its end.
    private mutating func group(ignoringCase: Bool) -> SplitProgram.Node? {
        var literals: [[CharacterSet]] = [[]]
        /// The literals as written, to know pairs of letters; a set is no letter.
        var words = [""]
        while !take(")") {
            if take("|") {
                literals.append([])
                words.append("")
                continue
            }
            let start = position
            guard var set = set() else { return nil }
            words[words.count - 1] += position == start + 1 ? String(Character(scalars[start])) : "-"
            if ignoringCase {
                guard let both = set.ignoringCase else { return nil }
                set = both
            }
            literals[literals.count - 1].append(set)
        }
        guard literals.allSatisfy({ !$0.isEmpty }) else { return nil }
        // Other pairs of letters may be equal to one character but for case ("st" and U+FB06).
        let pairs: Set<String> = ["re", "ve", "ll", "RE", "VE", "LL"]
        let folds = words.contains { word in
            zip(word, word.dropFirst()).contains { $0.isLetter && $1.isLetter && !pairs.contains(String([$0, $1])) }
        }
        guard !ignoringCase || !folds else { return nil }
        let isOptional = take("?")
        guard next != "?", next != "*", next != "+", next != "{" else { return nil }
        return .oneOf(literals, isOptional: isOptional)
    }

    // MARK: - Sets

    private static let special = Set("\\[](){}^$.|?*+".unicodeScalars)

    private mutating func set() -> CharacterSet? {
        guard let scalar = next else { return nil }
        if take("[") { return bracket() }
        if take("\\S") {
            var set = CharacterSet(kinds: CharacterTable.whitespace)
            set.isNegated = true
            return set
        }
        if scalar == "\\" { return escape() }
        guard !Self.special.contains(scalar) else { return nil }
        position += 1
        return CharacterSet(scalar)
    }

    /// `\p{…}`, `\s`, `\d`, and characters.
    private mutating func escape() -> CharacterSet? {
        guard take("\\"), let scalar = next else { return nil }
        position += 1
        switch scalar {
        case "s": return CharacterSet(kinds: CharacterTable.whitespace)
        case "d": return CharacterTable.kinds(ofCategory: "Nd").map { CharacterSet(kinds: $0) }
        case "p":
            guard take("{"), let end = scalars[position...].firstIndex(of: "}") else { return nil }
            defer { position = end + 1 }
            let name = String(String.UnicodeScalarView(scalars[position..<end]))
            return CharacterTable.kinds(ofCategory: name).map { CharacterSet(kinds: $0) }
        case "r": return CharacterSet("\r")
        case "n": return CharacterSet("\n")
        case "t": return CharacterSet("\t")
        default: return scalar.isASCII && scalar.properties.isPunctuationOrSymbol ? CharacterSet(scalar) : nil
        }
    }

    /// What follows `[`, up to `]`.
    private mutating func bracket() -> CharacterSet? {
        var result = CharacterSet()
        result.isNegated = take("^")
        var isFirst = true
        while !take("]") {
            guard let scalar = next, scalar != "[", !scalars[position...].starts(with: "&&".unicodeScalars) else { return nil }
            if scalar == "-", !isFirst, position + 1 < scalars.count, scalars[position + 1] != "]" { return nil }
            isFirst = false
            let start = position
            guard let member = scalar == "\\" ? escape() : literal() else { return nil }
            if next == "-", position + 1 < scalars.count, scalars[position + 1] != "]" {
                guard position == start + 1, take("-"), let end = next, end != "\\", end != "[" else { return nil }
                position += 1
                guard scalar.value <= end.value else { return nil }
                result.insert(scalar.value...end.value)
            } else {
                result.formUnion(member)
            }
        }
        return result.isEmpty ? nil : result
    }

    private mutating func literal() -> CharacterSet? {
        defer { position += 1 }
        return next.map { CharacterSet($0) }
    }
}

extension Unicode.Scalar.Properties {
    fileprivate var isPunctuationOrSymbol: Bool {
        switch generalCategory {
        case .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation, .initialPunctuation,
            .finalPunctuation, .otherPunctuation, .mathSymbol, .currencySymbol, .modifierSymbol, .otherSymbol, .spaceSeparator:
            true
        default: false
        }
    }
}
