internal import Support

/// Questions to be answered by yes or no (Clark et al., arXiv 1905.10044).
enum BoolQ: EvaluationTask {
    static let name = "boolq"
    static let fields = "passage, question, label (or answer)"
    static let version = 2.0
    static let normalizes = false

    static func item(_ line: TaskLine) throws(FileError) -> TaskItem {
        let context = "\(try line.string("passage"))\nQuestion: \(try line.string("question"))?\nAnswer:"
        let choices = ["no", "yes"]
        return .choices(
            pairs: choices.map { TextPair(context, " " + $0) }, lengths: choices.map(\.unicodeScalars.count),
            right: try line.index(line.has("label") ? "label" : "answer", below: 2))
    }
}
