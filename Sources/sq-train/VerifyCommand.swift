internal import ArgumentParser
internal import Collectives
internal import Configuration
internal import Jobs
internal import Support

struct VerifyCommand: RankCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Compare the logits of two model folders, and fail where they differ by more than verify.tolerance.",
        discussion: """
            Compared are every token's row of embedding and head, the logits of all tokens in random order, and the logits of \
            a text: data.eval.path, or a paragraph that the program brings. It ends with exit code 1 where the models differ.
            """)

    /// The models differ.
    static let answers = [Support.ExitCode.differ.rawValue] as Set

    @Argument(help: "A Hugging Face folder, a run folder with a model, or a GGUF file.")
    var first: String

    @Argument(help: "A folder that should compute the same.")
    var second: String

    @OptionGroup var options: ConfigurationOptions

    func validate() throws { try options.checkNamesNoFolder("verify") }

    func run(on communicator: some Communicator) throws {
        try withSettings(on: communicator) { try VerifyJob(first, second).run($0, communicator, $1) }
    }
}
