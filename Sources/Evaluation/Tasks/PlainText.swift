internal import Support

/// Documents as they are: perplexity by word and by byte.
enum PlainText: EvaluationTask {
    static let name = "text"
    static let fields = "text"
    static let normalizes = false

    static func item(_ line: TaskLine) throws(FileError) -> TaskItem {
        let text = try line.string("text")
        guard !text.isEmpty else { throw line.failure("text", "is empty") }
        return .text(text)
    }
}
