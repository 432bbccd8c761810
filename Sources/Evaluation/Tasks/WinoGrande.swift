internal import Support

/// Whom a sentence speaks of (Sakaguchi et al., arXiv 1907.10641): the rest of the sentence after each name.
enum WinoGrande: EvaluationTask {
    static let name = "winogrande"
    static let fields = "sentence with a _, option1, option2, answer"
    static let normalizes = false

    static func item(_ line: TaskLine) throws(FileError) -> TaskItem {
        let sentence = try line.string("sentence")
        guard let gap = sentence.unicodeScalars.firstIndex(of: "_") else { throw line.failure("sentence", "has no _") }
        let rest = String(sentence.unicodeScalars[gap...].dropFirst()).trimmed
        let choices = [try line.string("option1"), try line.string("option2")].map {
            String(sentence.unicodeScalars[..<gap]) + $0
        }
        return .choices(
            pairs: choices.map { TextPair($0, " " + rest) }, lengths: choices.map(\.unicodeScalars.count),
            right: try line.index("answer", below: 2, from: 1))
    }
}
