package import Support

/// An error: weights cannot be quantized as asked, or a quantized layer has no integer product.
package struct QuantizationError: ReportableError, Equatable {
    /// What is wrong.
    package enum Kind: Sendable {
        /// A setting that the method, or an integer product, does not support.
        case configuration
        /// Weights, statistics of their inputs, or codes and zero points outside the range of the bits.
        case data
    }

    package let kind: Kind
    package let problem: String

    package init(_ kind: Kind, _ problem: String) {
        self.kind = kind
        self.problem = problem
    }

    /// The same error, of the layer that it is about.
    package func of(_ layer: String) -> QuantizationError { QuantizationError(kind, "\(layer): \(problem)") }

    package var exitCode: ExitCode { kind == .data ? .data : .configuration }
    package var description: String { problem }
}
