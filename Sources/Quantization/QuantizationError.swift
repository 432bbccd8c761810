package import Support

/// Weights that cannot be quantized as asked, or a quantized layer that there is no product of integers for.
package struct QuantizationError: ReportableError, Equatable {
    /// What is wrong.
    package enum Kind: Sendable {
        /// A setting: what the method, or a product of integers, does not have.
        case configuration
        /// Weights, what was seen of their inputs, or codes and zero points outside what the bits allow.
        case data
    }

    package let kind: Kind
    package let problem: String

    package init(_ kind: Kind, _ problem: String) {
        self.kind = kind
        self.problem = problem
    }

    package var exitCode: ExitCode { kind == .data ? .data : .configuration }
    package var description: String { problem }
}
