package import Support

/// A network or a text that no score can be computed of; exit code 65.
package enum EvaluationError: ReportableError {
    case noWindows
    case notFinite(String)
    /// Every token is as likely as any other, whatever came before.
    case uniform(vocabulary: Int)

    package var exitCode: ExitCode { .data }

    /// What is evaluated are sums over all ranks.
    package var isCommon: Bool { true }

    package var description: String {
        switch self {
        case .noWindows: "evaluation text: no complete window; give more text or a smaller data.sequence_length"
        case .notFinite(let what): "evaluation: \(what) is not finite; check the model's weights"
        case .uniform(let vocabulary):
            "evaluation: the network gives all \(vocabulary) tokens the same probability, so its scores mean nothing; "
                + "check the model for zero or huge weights"
        }
    }
}
