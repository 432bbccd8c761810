package import Support

/// A prompt or a network from which no text can be made; exit code 65.
package enum GenerationError: ReportableError, Equatable {
    /// Neither text nor a token that begins one.
    case emptyPrompt
    case promptTooLong(tokens: Int, most: Int)
    case tokenOutside(token: Int, vocabulary: Int)
    case notFinite(position: Int)

    package var exitCode: ExitCode { .data }

    package var description: String {
        switch self {
        case .emptyPrompt:
            "prompt: there is no text, and the tokenizer names no token that begins one; give text with --prompt or on "
                + "standard input"
        case .promptTooLong(let tokens, let most):
            "prompt: \(tokens) tokens leave no room for another; the model has positions for \(most)"
        case .tokenOutside(let token, let vocabulary):
            "prompt: the tokenizer gives token \(token), and the model has \(vocabulary); they do not belong together"
        case .notFinite(let position):
            "generate: the logits after token \(position) are not finite; check the model's weights"
        }
    }
}
