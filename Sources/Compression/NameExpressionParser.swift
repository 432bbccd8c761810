/// Reads the text of a ``NameExpression``.
struct NameExpressionParser {
    indirect enum Node {
        case one(CharacterRanges)
        case beginning, end
        case sequence([Node])
        case either([Node])
        /// - Parameter most: nil for no limit.
        case repeated(Node, least: Int, most: Int?)
    }

    typealias Refusal = NameExpression.Refusal

    /// The deepest allowed nesting of groups.
    private static let deepest = 32

    private let scalars: [Unicode.Scalar]
    private var position = 0
    private var depth = 0

    init(_ text: String) { scalars = Array(text.unicodeScalars) }

    private var next: Unicode.Scalar? { position < scalars.count ? scalars[position] : nil }

    private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
        guard next == scalar else { return false }
        position += 1
        return true
    }

    private func refusal(_ problem: String, at index: Int? = nil) -> Refusal {
        Refusal(position: (index ?? position) + 1, problem: problem)
    }

    mutating func whole() throws(Refusal) -> Node {
        let (node, _) = try alternatives()
        guard next == nil else { throw refusal("a ) without a (") }
        return node
    }

    /// Parses up to the end of the group or the text; also returns the number of states.
    private mutating func alternatives() throws(Refusal) -> (Node, size: Int) {
        var (choices, size) = ([Node](), 0)
        repeat {
            let (node, own) = try sequence()
            choices.append(node)
            // A state that leads to it, and one that leads from it.
            size += own + 2
            try check(size)
        } while take("|")
        return (choices.count == 1 ? choices[0] : .either(choices), size)
    }

    private mutating func sequence() throws(Refusal) -> (Node, size: Int) {
        var (nodes, size) = ([Node](), 0)
        while let scalar = next, scalar != "|", scalar != ")" {
            let (node, own) = try quantified(scalar)
            nodes.append(node)
            size += own
            try check(size)
        }
        return (.sequence(nodes), size)
    }

    private func check(_ size: Int) throws(Refusal) {
        guard size < NameExpression.limit else {
            throw refusal("the expression needs more than \(NameExpression.limit) states", at: position - 1)
        }
    }

    private mutating func quantified(_ scalar: Unicode.Scalar) throws(Refusal) -> (Node, size: Int) {
        let (node, size) = try atom(scalar)
        let place = position
        guard let (least, most) = try counts() else { return (node, size) }
        switch node {
        case .beginning, .end: throw refusal("nothing to repeat", at: place)
        default: break
        }
        // Lazy or not, the same names match.
        if !take("?"), next == "+" { throw refusal("a possessive count, which is not supported") }
        if let scalar = next, "*+?".unicodeScalars.contains(scalar) || scalar == "{" {
            throw refusal("a count after a count")
        }
        let states = most.map { $0 * size + $0 - least } ?? (least + 1) * size + 2
        return (.repeated(node, least: least, most: most), states)
    }

    /// nil where no count follows.
    private mutating func counts() throws(Refusal) -> (least: Int, most: Int?)? {
        if take("*") { return (0, nil) }
        if take("+") { return (1, nil) }
        if take("?") { return (0, 1) }
        let place = position
        guard take("{") else { return nil }
        let first = number()
        let hasComma = take(",")
        let last = hasComma ? number() : first
        guard take("}"), first != nil || hasComma else {
            throw refusal(#"a { that does not begin a count; write \{ for the character"#, at: place)
        }
        guard [first ?? 0, last ?? 0].allSatisfy({ $0 < NameExpression.limit }) else {
            throw refusal("the expression needs more than \(NameExpression.limit) states", at: place)
        }
        if let last, last < first ?? 0 { throw refusal("a count that ends before it begins", at: place) }
        return (first ?? 0, last)
    }

    /// nil without digits; the largest number for more digits than numbers have.
    private mutating func number() -> Int? {
        var digits = ""
        while let scalar = next, ("0"..."9").contains(scalar) {
            digits.unicodeScalars.append(scalar)
            position += 1
        }
        return digits.isEmpty ? nil : Int(digits) ?? .max
    }

    private mutating func atom(_ scalar: Unicode.Scalar) throws(Refusal) -> (Node, size: Int) {
        switch scalar {
        case "(": return try group()
        case "[": return (.one(try bracket()), 1)
        case "\\": return (.one(try escape()), 1)
        case "*", "+", "?": throw refusal("nothing to repeat")
        case "{": throw refusal(#"a { that does not begin a count; write \{ for the character"#)
        default: break
        }
        position += 1
        switch scalar {
        case ".": return (.one(.anyCharacter), 1)
        case "^": return (.beginning, 1)
        case "$": return (.end, 1)
        default: return (.one(CharacterRanges(scalar)), 1)
        }
    }

    private mutating func group() throws(Refusal) -> (Node, size: Int) {
        let start = position
        position += 1
        if take("?"), !take(":") {
            let words: [(String, String)] = [
                ("=", "a look ahead"), ("!", "a look ahead"), ("<=", "a look behind"), ("<!", "a look behind"),
                ("P<", "a named group"), ("P=", "a reference to a group"), ("#", "a comment"), (">", "an atomic group"),
                ("(", "a condition"),
            ]
            let rest = scalars[position...]
            let word = words.first { rest.starts(with: $0.0.unicodeScalars) }
            throw refusal("\(word?.1 ?? "flags"), which is not supported", at: start)
        }
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.deepest else { throw refusal("groups nested deeper than \(Self.deepest)", at: start) }
        let (node, size) = try alternatives()
        guard take(")") else { throw refusal("a ( without a )", at: start) }
        // A sequence, so that a repeated item is a group even where it contains only ^.
        return (.sequence([node]), size)
    }

    /// `\d` and similar classes, or an escaped character.
    private mutating func escape() throws(Refusal) -> CharacterRanges {
        let start = position
        position += 1
        guard let scalar = next else { throw refusal(#"a \ at the end"#, at: start) }
        position += 1
        if let set = CharacterRanges.named(scalar) { return set }
        let isWord = CharacterRanges.named("w")?.contains(scalar.value) == true && scalar != "_"
        guard !isWord else {
            let kind = ("0"..."9").contains(scalar) ? "a reference to a group or a character's code" : "\\\(scalar)"
            throw refusal("\(kind), which is not supported", at: start)
        }
        return CharacterRanges(scalar)
    }

    private mutating func bracket() throws(Refusal) -> CharacterRanges {
        let start = position
        position += 1
        let isNegated = take("^")
        var (result, isFirst) = (CharacterRanges(), true)
        while isFirst || next != "]" {
            isFirst = false
            guard let scalar = next else { throw refusal("a [ without a ]", at: start) }
            let place = position
            let member = try self.member(scalar)
            // A hyphen before the end is literal.
            guard next == "-", position + 1 < scalars.count, scalars[position + 1] != "]" else {
                result.formUnion(member)
                continue
            }
            position += 1
            let end = try self.member(scalars[position])
            guard let lower = member.single, let upper = end.single, lower <= upper else {
                throw refusal("a range that ends before it begins", at: place)
            }
            result.formUnion(CharacterRanges([lower...upper]))
        }
        position += 1
        return isNegated ? result.negated : result
    }

    private mutating func member(_ scalar: Unicode.Scalar) throws(Refusal) -> CharacterRanges {
        if scalar == "\\" { return try escape() }
        position += 1
        return CharacterRanges(scalar)
    }
}

extension CharacterRanges {
    /// The one character of a set.
    fileprivate var single: UInt32? {
        ranges.count == 1 && ranges[0].count == 1 ? ranges[0].lowerBound : nil
    }
}
