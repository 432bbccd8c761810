internal import Support

/// Endings of a scene (Zellers et al., arXiv 1905.07830).
enum HellaSwag: EvaluationTask {
    static let name = "hellaswag"
    static let fields = "activity_label, ctx_a, ctx_b, endings, label"

    static func item(_ line: TaskLine) throws(FileError) -> TaskItem {
        let (first, second) = (try line.string("ctx_a"), try line.string("ctx_b"))
        let context = cleaned("\(try line.string("activity_label")): \(first) \(capitalized(second))")
        let endings = try line.strings("endings").map(cleaned)
        return .choices(
            pairs: endings.map { TextPair(context, " " + $0) }, lengths: endings.map(\.unicodeScalars.count),
            right: try line.index("label", below: endings.count))
    }

    /// Without the marks of the pages that the scenes come from.
    static func cleaned(_ text: String) -> String {
        withoutBrackets(text.trimmed.replacingScalars(" [title]", with: ". ")).replacingScalars("  ", with: " ")
    }

    /// Without `[…]` within a line.
    private static func withoutBrackets(_ text: String) -> String {
        var (result, rest) = (String.UnicodeScalarView(), text.unicodeScalars[...])
        while let open = rest.firstIndex(of: "[") {
            let end = rest[open...].firstIndex { $0 == "]" || $0 == "\n" }
            guard let end, rest[end] == "]" else {
                result.append(contentsOf: rest[...open])
                rest = rest[rest.index(after: open)...]
                continue
            }
            result.append(contentsOf: rest[..<open])
            rest = rest[rest.index(after: end)...]
        }
        result.append(contentsOf: rest)
        return String(result)
    }

    /// The first letter large, all others small; a sigma that ends a word is ς, as in Python (Unicode, section 3.13,
    /// Final_Sigma), where Swift has σ always.
    static func capitalized(_ text: String) -> String {
        let scalars = Array(text.unicodeScalars)
        guard let first = scalars.first else { return "" }
        return scalars.indices.dropFirst().reduce(into: first.properties.titlecaseMapping) { result, place in
            let scalar = scalars[place]
            result += scalar == "Σ" && endsWord(place, scalars) ? "ς" : scalar.properties.lowercaseMapping
        }
    }

    /// Whether there is a letter before a place and none after it, marks and apostrophes aside.
    private static func endsWord(_ place: Int, _ scalars: [Unicode.Scalar]) -> Bool {
        func isLetter(_ scalar: Unicode.Scalar?) -> Bool { scalar?.properties.isCased ?? false }
        let before = scalars[..<place].last { !$0.properties.isCaseIgnorable }
        return isLetter(before) && !isLetter(scalars[(place + 1)...].first { !$0.properties.isCaseIgnorable })
    }
}
