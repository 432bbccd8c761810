internal import ArgumentParser
internal import Collectives

/// The command line.
struct SQTrain: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sq-train",
        abstract: "Makes language models cheap to run: learned rotations for 4 bits, and ternary factors.",
        discussion: """
            With no arguments it learns rotations for an embedded model. Under mpirun the ranks share the work:
              mpirun -n 8 sq-train
            """,
        subcommands: [
            RotateCommand.self, TrainCommand.self, QatCommand.self, PtqCommand.self, EvaluateCommand.self, VerifyCommand.self,
            ProfileCommand.self, PlanCommand.self, LaunchCommand.self, WatchCommand.self,
        ],
        defaultSubcommand: RotateCommand.self)
}

/// A command that runs on all ranks of a job.
protocol RankCommand: ParsableCommand {
    var options: ConfigurationOptions { get }

    /// Called on every rank with the same arguments.
    func run(on communicator: some Communicator) throws
}
