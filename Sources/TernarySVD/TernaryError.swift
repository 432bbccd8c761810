internal import LinearAlgebra
package import Support

/// An error: a ternary decomposition that cannot be made, or a packed file that cannot be used.
package struct TernaryError: ReportableError, Equatable {
    /// The kind of error: a setting, the data, or a loop without progress.
    package enum Kind: Sendable {
        /// A setting outside its range.
        case configuration
        /// A weight or a file that breaks a rule.
        case data
        /// The loop no longer lowers the residual.
        case stalled
    }

    package let kind: Kind
    package let problem: String

    package init(_ kind: Kind, _ problem: String) {
        self.kind = kind
        self.problem = problem
    }

    /// Does linear algebra for a layer. If LAPACK fails, the weight is the cause, and the error names the layer.
    static func naming<Result>(_ name: String, _ work: () throws -> Result) throws -> Result {
        do { return try work() } catch let error as LAPACKError { throw TernaryError(.data, "\(name): \(error)") }
    }

    package var exitCode: ExitCode { kind == .data ? .data : .configuration }
    package var description: String { problem }
}
