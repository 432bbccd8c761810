internal import ArgumentParser
internal import Collectives
internal import Jobs

struct TrainCommand: RankCommand {
    static let configuration = CommandConfiguration(
        commandName: "train",
        abstract: "Train all parameters of a model on text, in full precision.",
        discussion: "training.* and optimizer.* say how; see --print-config.")

    @OptionGroup var model: ModelArgument
    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var resume: ResumeOptions

    func run(on communicator: some Communicator) throws {
        try TrainJob().run(options, resume, model: model.model, on: communicator)
    }
}
