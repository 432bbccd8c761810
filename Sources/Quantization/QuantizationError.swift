package import Support
internal import TensorCore

/// A quantized layer that there is no product of integers for.
package struct QuantizationError: ReportableError, Equatable {
    /// What is wrong: the weights, what was seen of the inputs, or the method.
    package enum Kind: Sendable {
        /// A setting that no product of integers has.
        case configuration
        /// Codes or zero points outside what the bits allow.
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
