internal import ArgumentParser
internal import Collectives
internal import Jobs

struct RotateCommand: RankCommand {
    static let configuration = CommandConfiguration(
        commandName: "rotate",
        abstract: "Learn rotations for a model (the default command).",
        discussion: "Without model.path it works on the embedded model; --print-config lists all settings.")

    @OptionGroup var model: ModelArgument
    @OptionGroup var options: ConfigurationOptions
    @OptionGroup var resume: ResumeOptions

    func run(on communicator: some Communicator) throws {
        try RotateJob().run(options, resume, model: model.model, on: communicator)
    }
}
