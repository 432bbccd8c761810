internal import ArgumentParser
internal import Collectives
internal import Training

struct VerifyCommand: RankCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Compare the logits of two model folders, and fail where they differ by more than verify.tolerance.",
        discussion: "On random tokens and on text: data.eval.path, or a paragraph of our own.")

    @Argument(help: "A Hugging Face folder.")
    var first: String

    @Argument(help: "A folder that should compute the same.")
    var second: String

    @OptionGroup var options: ConfigurationOptions

    func run(on communicator: some Communicator) throws {
        try VerifyJob(first, second).run(
            options.load(on: communicator), communicator, Reporter(isSpeaking: communicator.isRoot))
    }
}
