internal import Collectives
internal import Runs
internal import Support

/// Which runs of a sweep some ranks have taken, and how those have ended that are done: what ranks that do not wait for each
/// other know of each other's runs.
///
/// A run is taken by making a folder of its number, which one process alone can do; a file in it says how the run ended.
struct SweepLedger {
    private let folder: String

    private static let outcomeFile = "outcome.json"
    private static let stopFile = "stopped"

    /// - Parameter sweep: the sweep's folder.
    init(in sweep: String) { folder = "\(sweep)/\(SweepFolder.ledgerName)" }

    private func entry(_ run: Int) -> String { "\(folder)/\(run)" }

    /// Empties the ledger. One rank, before the others take anything.
    func begin() throws(FileError) {
        try removeTree(folder)
        try makeFolder(folder)
    }

    /// When the last run has ended.
    func end() throws(FileError) { try removeTree(folder) }

    /// No more runs are to be taken: some ranks were asked to stop. Where that cannot be written the others hear of it later.
    func stop() { try? AtomicFile.write("", to: "\(folder)/\(Self.stopFile)") }

    /// The number of a run that nobody else has taken or will take; nil where there is none.
    func take(from runs: Range<Int>) throws(FileError) -> Int? {
        if PathKind("\(folder)/\(Self.stopFile)") == .file { return nil }
        for run in runs where try makesNewFolder(entry(run)) { return run }
        return nil
    }

    /// - Parameters:
    ///   - model: as a summary names it, which a run that fails does not leave.
    ///   - failure: nil for a run that has gone well.
    func note(_ run: Int, of model: String, _ failure: AgreedError?) throws(FileError) {
        var outcome = JSONObject()
        outcome["model"] = .string(model)
        outcome["exit_code"] = failure.map { .integer(Int($0.exitCode.rawValue)) }
        outcome["failure"] = failure.map { .string($0.description) }
        try AtomicFile.write(JSONValue.object(outcome).text() + "\n", to: "\(entry(run))/\(Self.outcomeFile)")
    }

    /// How a run has ended.
    enum Outcome: Equatable {
        case unfinished, finished
        case failed(AgreedError, model: String)
    }

    func outcome(of run: Int) throws(FileError) -> Outcome {
        let path = "\(entry(run))/\(Self.outcomeFile)"
        guard PathKind(path) == .file else { return .unfinished }
        let outcome = try InputFile.json(path)
        guard let failure = outcome["failure"]?.string else { return .finished }
        let code = outcome["exit_code"]?.integer.flatMap { ExitCode(rawValue: Int32($0)) }
        let error = AgreedError(exitCode: code ?? .software, description: failure)
        return .failed(error, model: outcome["model"]?.string ?? "")
    }
}
