internal import ArgumentParser
internal import CProcess
internal import Collectives
internal import Configuration
internal import Glibc
internal import Support

/// The command line.
struct SQTrain: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sq-train",
        abstract: "Makes language models cheap to run: learned rotations for 4 bits, and ternary factors.",
        discussion: """
            With no arguments it learns rotations for an embedded model. Under mpirun the ranks share the work:
              sq-train launch -n 8
            """,
        version: version,
        subcommands: [
            RotateCommand.self, TrainCommand.self, QatCommand.self, PtqCommand.self, QuantizeCommand.self, EvaluateCommand.self,
            VerifyCommand.self, GenerateCommand.self, SweepCommand.self,
            ExportCommand.self, ImportCommand.self, ProfileCommand.self, PlanCommand.self, LaunchCommand.self,
            WatchCommand.self,
        ],
        defaultSubcommand: RotateCommand.self)
}

extension SQTrain {
    /// With the commit where the build knew it.
    private static var version: String {
        let commit = String(cString: cprocess_commit())
        return ProgramVersion.name + (commit.isEmpty ? "" : " (\(commit))")
    }

    /// A first word that is neither a command nor a file here would be taken for the default command's model.
    static func checkCommand(_ arguments: [String]) throws {
        guard let word = arguments.first, !word.hasPrefix("-"), !word.contains("/"), access(word, F_OK) != 0 else { return }
        let commands = configuration.subcommands.compactMap { $0.configuration.commandName } + ["help"]
        guard !commands.contains(word) else { return }
        let meant = nearestWord(to: word, among: commands + ["--version"])
        throw ValidationError(
            "no command '\(word.prefix(100))'"
                + (meant.map { "; did you mean \($0)?" }
                    ?? ", and no folder; the commands are \(commands.joined(separator: ", "))"))
    }
}

/// A command that one process does; of several ranks the first.
protocol SingleCommand: ParsableCommand {}

/// A command that runs on all ranks of a job.
protocol RankCommand: ParsableCommand {
    var options: ConfigurationOptions { get }

    /// Exit codes that are this command's answer, and no failure that another attempt might not have.
    static var answers: Set<Int32> { get }

    /// Called on every rank with the same arguments.
    func run(on communicator: some Communicator) throws
}

extension RankCommand {
    static var answers: Set<Int32> { [] }
}
