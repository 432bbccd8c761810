internal import CMPI
package import Support

/// A communication that failed: which operation, on which rank, and MPI's description of the error.
package struct MPIError: ReportableError, Equatable {
    /// The MPI function, such as `MPI_Allreduce`.
    package let operation: String
    package let rank: Int
    /// MPI's error code; 0 where the failure was found on this side of MPI.
    package let code: Int32
    package let text: String

    package init(operation: String, rank: Int, code: Int32, text: String) {
        (self.operation, self.rank, self.code, self.text) = (operation, rank, code, text)
    }

    package var exitCode: ExitCode { .temporary }
    package var description: String { "\(operation) failed on rank \(rank): \(text); restart from the last checkpoint" }

    /// Throws unless `code` is success: the one way every MPI call takes.
    static func check(_ operation: String, rank: Int, _ code: Int32) throws(MPIError) {
        guard code != Int32(CMPI_SUCCESS) else { return }
        let text = withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(CMPI_MAX_ERROR_TEXT)) { buffer -> String in
            buffer.initialize(repeating: 0)
            guard let base = buffer.baseAddress else { return "" }
            cmpi_error_text(code, base)
            return String(cString: base)
        }
        throw MPIError(operation: operation, rank: rank, code: code, text: text.isEmpty ? "MPI error \(code)" : text)
    }
}
