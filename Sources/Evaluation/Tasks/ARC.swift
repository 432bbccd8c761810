internal import Support

/// Questions of school science (Clark et al., arXiv 1803.05457), easy or hard.
enum ARC: EvaluationTask {
    static let name = "arc"
    static let fields = "question, choices (text and label), answerKey"

    static func item(_ line: TaskLine) throws(FileError) -> TaskItem {
        let context = "Question: \(try line.string("question"))\nAnswer:"
        let (choices, labels) = (try line.strings("text", in: "choices"), try line.strings("label", in: "choices"))
        guard choices.count == labels.count else {
            throw line.failure("choices", "has \(choices.count) texts and \(labels.count) labels")
        }
        guard let right = labels.firstIndex(of: try line.string("answerKey")) else {
            throw line.failure("answerKey", "is not one of the labels \(labels.joined(separator: ", "))")
        }
        return .choices(
            pairs: choices.map { TextPair(context, " " + $0) }, lengths: choices.map(\.unicodeScalars.count), right: right)
    }
}
