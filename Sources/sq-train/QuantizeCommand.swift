internal import ArgumentParser
internal import Collectives
internal import Jobs

struct QuantizeCommand: RankCommand {
    static let configuration = CommandConfiguration(
        commandName: "quantize",
        abstract: "Round a model's linear layers to integers of a few bits and write them packed.",
        discussion: "quantization.* says how, rotation.path or quantize.rotation what is rotated first; see --print-config.")

    @OptionGroup var model: ModelArgument
    @OptionGroup var options: ConfigurationOptions

    func run(on communicator: some Communicator) throws {
        try QuantizeJob().run(options, model: model.model, on: communicator)
    }
}
