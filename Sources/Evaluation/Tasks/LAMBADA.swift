internal import Support

/// The last word of a passage (Paperno et al., arXiv 1606.06031).
enum LAMBADA: EvaluationTask {
    static let name = "lambada"
    static let fields = "text"
    static let normalizes = false

    static func item(_ line: TaskLine) throws(FileError) -> TaskItem {
        let text = try line.string("text")
        let words = text.unicodeScalars.split(separator: " ", omittingEmptySubsequences: false).map { String($0) }
        guard words.count > 1, let last = words.last, !last.isEmpty else {
            throw line.failure("text", "must have at least two words and end with one, which is what is scored")
        }
        return .cloze(TextPair(words.dropLast().joined(separator: " "), " " + last))
    }
}
