package import TensorCore

package enum EvaluationError: ReportableError {
    case noWindows
    case notFinite(String)

    package var exitCode: ExitCode { .data }

    package var description: String {
        switch self {
        case .noWindows: "evaluation text: no complete window; give more text or a smaller data.sequence_length"
        case .notFinite(let what): "evaluation: \(what) is not finite; check the model's weights"
        }
    }
}
