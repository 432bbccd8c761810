import Collectives
import Configuration
import Parallelism
import Support
import TestSupport

@testable import Jobs
@testable import Runs

/// Runs a job of the embedded model on one rank, small: two steps, four windows of 48 tokens.
///
/// - Parameters:
///   - name: of the run's folder within `folder`.
///   - settings: as a user gives them.
///   - note: called with what the job tells the user.
/// - Returns: `summary.json`.
func summary(
    of job: some Job, in folder: TemporaryFolder, _ name: String, _ settings: [String], note: ((String) -> Void)? = nil
) throws -> JSONValue {
    let config = try SettingsRequest(
        assignments: [
            "data.sequence_length=48", "data.eval.windows=4", "training.steps=2", "training.batch_size=2",
            "out=\(folder.file(name))",
        ] + settings
    ).configuration(job: type(of: job).name).resolvingRunFolders()
    try job.run(
        JobContext(
            config: config, groups: try ParallelGroups(.alone, LoopbackCommunicator()),
            folder: RunFolder(folder.file(name), isWriter: true),
            reporter: Reporter(isSpeaking: note != nil, isTerminal: false, interval: .seconds(5), output: note ?? { _ in })))
    return try InputFile.json(folder.file(name) + "/summary.json")
}
