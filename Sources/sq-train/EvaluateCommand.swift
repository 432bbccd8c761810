internal import ArgumentParser
internal import Collectives
internal import Jobs

struct EvaluateCommand: RankCommand {
    static let configuration = CommandConfiguration(
        commandName: "eval",
        abstract: "Perplexity of a model, as it is and rounded to nearest as quantization.* says.",
        discussion: """
            Windows of data.eval.path, or sequences the model draws itself where no text is given.
            With a run folder of rotate, ptq, qat or train it makes that run's table again, from the run's settings and files.
            """)

    @OptionGroup var model: ModelArgument
    @OptionGroup var options: ConfigurationOptions

    func run(on communicator: some Communicator) throws {
        try EvaluateJob().run(options, model: model.model, on: communicator)
    }
}
