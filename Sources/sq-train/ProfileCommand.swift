internal import ArgumentParser
internal import Collectives
internal import Configuration
internal import Jobs

struct ProfileCommand: RankCommand {
    static let configuration = CommandConfiguration(
        commandName: "profile",
        abstract: "Count each linear layer's multiplications and additions per token, without a run.",
        discussion: """
            Of a run folder of ptq or qat: dense and ternary. Of a model folder: dense, and the number of \
            components from which on a ternary form would cost more.
            """)

    @Argument(help: "A run folder, a Hugging Face folder or a GGUF file (default: model.path).")
    var folder: String?

    @OptionGroup var options: ConfigurationOptions

    func validate() throws { try options.checkNamesNoFolder("profile") }

    func run(on communicator: some Communicator) throws {
        try withSettings(model: folder, on: communicator) { try ProfileJob(folder).run($0, communicator, $1) }
    }
}
