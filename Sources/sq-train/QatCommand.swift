internal import ArgumentParser
internal import Collectives
internal import Jobs

struct QatCommand: RankCommand {
    static let configuration = CommandConfiguration(
        commandName: "qat",
        abstract: "Train a model to run with ternary factors, or with integers of a few bits.",
        discussion: """
            qat.method=ternary (the default) projects every linear layer onto ternary factors after each step, as ternary.* says;
            the ranks share that work. qat.method=integer trains with the quantizers of quantization.*.
            """)

    @OptionGroup var model: ModelArgument
    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var resume: ResumeOptions

    func run(on communicator: some Communicator) throws {
        try QatJob().run(options, resume, model: model.model, on: communicator)
    }
}
