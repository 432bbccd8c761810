internal import ArgumentParser
internal import Collectives
internal import Jobs

struct PtqCommand: RankCommand {
    static let configuration = CommandConfiguration(
        commandName: "ptq",
        abstract: "Replace linear layers by ternary factors, without training.",
        discussion: "ternary.* says how closely and which layers; see --print-config.")

    @OptionGroup var model: ModelArgument
    @OptionGroup var options: ConfigurationOptions

    func run(on communicator: some Communicator) throws {
        try PtqJob().run(options, model: model.model, on: communicator)
    }
}
