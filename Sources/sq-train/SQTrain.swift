internal import ArgumentParser
internal import Collectives

/// The command line.
struct SQTrain: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sq-train",
        abstract: "Learns rotations that let a language model run with 4-bit weights, activations and KV cache.",
        discussion: """
            With no arguments it learns rotations for an embedded model. Under mpirun the ranks share the work:
              mpirun -n 8 sq-train
            """,
        subcommands: [
            RotateCommand.self, TrainCommand.self, PtqCommand.self, EvaluateCommand.self, VerifyCommand.self, ProfileCommand.self,
            LaunchCommand.self,
        ],
        defaultSubcommand: RotateCommand.self)
}

/// A command that runs on all ranks of a job.
protocol RankCommand: ParsableCommand {
    /// Called on every rank with the same arguments.
    func run(on communicator: some Communicator) throws
}
