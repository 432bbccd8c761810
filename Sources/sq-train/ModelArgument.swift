internal import ArgumentParser

/// The model of a job, as an argument.
struct ModelArgument: ParsableArguments {
    @Argument(help: "A Hugging Face folder, or a run folder with a model (default: model.path).")
    var model: String?
}
