package import Support

/// An error all ranks have agreed to end with: each throws this one at the same point.
package struct AgreedError: ReportableError, Equatable {
    package let exitCode: ExitCode
    package let description: String
    package var isCommon: Bool { true }

    package init(exitCode: ExitCode, description: String) {
        self.exitCode = exitCode
        self.description = description
    }

    /// An error that is no `ReportableError` is a defect of ours.
    package init(_ error: any Error) {
        let known = error as? any ReportableError
        self.init(exitCode: known?.exitCode ?? .software, description: (known?.description ?? "\(error)").singleLine)
    }

    /// Code, then text.
    fileprivate var encoded: [UInt8] { [UInt8(exitCode.rawValue)] + description.utf8 }

    fileprivate init?(encoded bytes: [UInt8]) {
        guard let code = bytes.first else { return nil }
        self.init(
            exitCode: ExitCode(rawValue: Int32(code)) ?? .software,
            description: String(decoding: bytes.dropFirst(), as: UTF8.self))
    }
}

extension StopRequested {
    /// A code that no error has, then the signal.
    private static let mark: UInt8 = 0

    fileprivate var encoded: [UInt8] { [Self.mark, UInt8(signal)] }

    fileprivate init?(encoded bytes: [UInt8]) {
        guard bytes.count == 2, bytes[0] == Self.mark else { return nil }
        self.init(signal: Int32(bytes[1]))
    }
}

extension Communicator {
    /// Does work on every rank that may fail on any, such as reading input: either it succeeds on all of them, or all throw the
    /// error of the first rank that failed, so that none waits for another. Where that rank was asked to stop, before the work
    /// or in it, the error is ``StopRequested``. The work must not communicate. Collective.
    ///
    /// An ``AgreedError`` ends the job in the belief that every rank has it. Ranks that are a part of the world must therefore
    /// let the others know, by the world's ``agree(_:)``, before they throw theirs.
    package func agree<Result>(_ work: () throws -> Result) throws -> Result {
        var verdict: [UInt8] = []
        let outcome = Swift.Result<Result, any Error> {
            do {
                try StopRequest.check()
                return try work()
            } catch let stop as StopRequested {
                verdict = stop.encoded
                throw stop
            } catch {
                let error = AgreedError(error)
                verdict = error.encoded
                throw error
            }
        }
        for verdict in try allGather(verdict) {
            if let stop = StopRequested(encoded: verdict) { throw stop }
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

    /// The same for a decision. Collective.
    package func rootDecides(_ decide: () throws -> Bool) throws -> Bool {
        let yes = "yes"
        return try fromRoot { try decide() ? yes : "" } == yes
    }
}
