internal import Collectives
internal import Runs
internal import Support

/// Records which runs of a sweep have been taken and how finished ones have ended, for groups of ranks that do not wait for
/// each other.
///
/// A run is taken by making a folder with its number, which only one process can do. A file in it says how the run ended.
struct SweepLedger {
    private let folder: String

    private static let outcomeFile = "outcome.json"
    private static let stopFile = "stopped"
    /// Holds the numbers of the runs that had finished before.
    private static let finishedFile = "finished.json"

    /// - Parameter sweep: the sweep's folder.
    init(in sweep: String) { folder = "\(sweep)/\(SweepFolder.ledgerName)" }

    private func entry(_ run: Int) -> String { "\(folder)/\(run)" }

    /// Empties the ledger. Called by one rank, before the others take anything.
    ///
    /// - Parameter finished: runs that have finished before. They are taken, too, to make what exports they lack, but have
    ///   results already.
    func begin(finished: [Int] = []) throws(FileError) {
        try removeTree(folder)
        try makeFolder(folder)
        let numbers = JSONValue.array(finished.map { .integer($0) })
        try AtomicFile.write(numbers.text(.compact) + "\n", to: "\(folder)/\(Self.finishedFile)")
    }

    /// Removes the ledger when the last run has ended.
    func end() throws(FileError) { try removeTree(folder) }

    /// Records that no more runs are to be taken, since some ranks were asked to stop. If that cannot be written, the others
    /// learn of it later.
    func stop() { try? AtomicFile.write("", to: "\(folder)/\(Self.stopFile)") }

    /// Takes a run that no other group has taken and returns its number; nil where there is none.
    func take(from runs: Range<Int>) throws(FileError) -> Int? {
        if PathKind("\(folder)/\(Self.stopFile)") == .file { return nil }
        for run in runs where try makesNewFolder(entry(run)) { return run }
        return nil
    }

    /// - Parameters:
    ///   - model: the model's name, since a run that fails leaves no summary with it.
    ///   - failure: nil for a run that succeeded.
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

    /// Those of this many runs, in their order.
    func outcomes(of count: Int) throws(FileError) -> [Outcome] {
        let finished = Set((try InputFile.json("\(folder)/\(Self.finishedFile)").array ?? []).compactMap(\.integer))
        var outcomes: [Outcome] = []
        for run in 0..<count { outcomes.append(try outcome(of: run) ?? (finished.contains(run) ? .finished : .unfinished)) }
        return outcomes
    }

    /// nil for a run that has not ended since the sweep began.
    private func outcome(of run: Int) throws(FileError) -> Outcome? {
        let path = "\(entry(run))/\(Self.outcomeFile)"
        guard PathKind(path) == .file else { return nil }
        let outcome = try InputFile.json(path)
        guard let failure = outcome["failure"]?.string else { return .finished }
        let code = outcome["exit_code"]?.integer.flatMap { ExitCode(rawValue: Int32($0)) }
        let error = AgreedError(exitCode: code ?? .software, description: failure)
        return .failed(error, model: outcome["model"]?.string ?? "")
    }
}
