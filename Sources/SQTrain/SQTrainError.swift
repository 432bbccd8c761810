internal import Support

/// What went wrong, in a line that says where and what to do.
public struct SQTrainError: Error, CustomStringConvertible, Equatable {
    public let description: String
    /// With which the program `sq-train` would end: see docs/reliability.md.
    public let exitCode: Int32

    /// Runs work of this package's modules, whose errors are not public.
    static func translating<Result>(_ work: () throws -> Result) throws(SQTrainError) -> Result {
        do {
            return try work()
        } catch {
            let known = error as? any ReportableError
            throw SQTrainError(
                description: known?.description ?? "\(error)", exitCode: (known?.exitCode ?? .software).rawValue)
        }
    }
}
