internal import Support

/// Two ways to reach a goal (Bisk et al., arXiv 1911.11641).
enum PIQA: EvaluationTask {
    static let name = "piqa"
    static let fields = "goal, sol1, sol2, label"

    static func item(_ line: TaskLine) throws(FileError) -> TaskItem {
        let context = "Question: \(try line.string("goal"))\nAnswer:"
        let choices = [try line.string("sol1"), try line.string("sol2")]
        return .choices(
            pairs: choices.map { TextPair(context, " " + $0) }, lengths: choices.map(\.unicodeScalars.count),
            right: try line.index("label", below: 2))
    }
}
