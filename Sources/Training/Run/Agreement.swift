package import Collectives
package import TensorCore

/// An error all ranks have agreed to end with: each throws this one at the same point.
package struct AgreedError: ReportableError, Equatable {
    package let exitCode: ExitCode
    package let description: String

    package init(exitCode: ExitCode, description: String) {
        self.exitCode = exitCode
        self.description = description
    }

    /// An error that is no ``ReportableError`` is a defect of ours.
    package init(_ error: any Error) {
        let known = error as? any ReportableError
        self.init(exitCode: known?.exitCode ?? .software, description: (known?.description ?? "\(error)").singleLine)
    }

    /// Code, then text.
    fileprivate var encoded: [UInt8] { [UInt8(exitCode.rawValue)] + description.utf8 }

    fileprivate init?(encoded bytes: [UInt8]) {
        guard let code = bytes.first else { return nil }
        self.init(
            exitCode: ExitCode(rawValue: Int32(code)) ?? .software, description: String(decoding: bytes.dropFirst(), as: UTF8.self))
    }
}

extension Communicator {
    /// Does work on every rank that may fail on any, such as reading input: either it succeeds on all of them, or all throw the
    /// error of the first rank that failed, so that none waits for another. The work must not communicate. Collective.
    package func agree<Result>(_ work: () throws -> Result) throws -> Result {
        let outcome = Swift.Result { try work() }.mapError { AgreedError($0) }
        var verdict: [UInt8] = []
        if case .failure(let error) = outcome { verdict = error.encoded }
        for verdict in try allGather(verdict) {
            if let error = AgreedError(encoded: verdict) { throw error }
        }
        return try outcome.get()
    }

    /// Does work on rank 0 and gives its text to all, or its error. Collective.
    package func fromRoot(_ work: () throws -> String) throws -> String {
        var text = Array(try agree { isRoot ? try work() : "" }.utf8)
        try broadcast(&text)
        return String(decoding: text, as: UTF8.self)
    }
}
