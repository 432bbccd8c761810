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

    /// The first letter large, all others small.
    private static func capitalized(_ text: String) -> String {
        guard let first = text.unicodeScalars.first else { return "" }
        return first.properties.titlecaseMapping + String(text.unicodeScalars.dropFirst()).lowercased()
    }
}
