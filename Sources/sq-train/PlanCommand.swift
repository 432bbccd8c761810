internal import ArgumentParser
internal import Collectives
internal import Training

struct PlanCommand: RankCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan",
        abstract: "Predict memory, operations, traffic and time of a step for every way to divide the ranks.",
        discussion: """
            The job is plan.job, the cluster plan.nodes, plan.ranks_per_node and others (see --print-config); what is not set is what \
            this machine has. Of the model only config.json is read:
              sq-train plan config.json --set plan.job=rotate --set plan.nodes=4 --set plan.memory_per_node=256GiB
            """)

    @Argument(help: "A Hugging Face folder or a config.json (default: model.path).")
    var model: String?

    @Flag(help: "Print the plan as JSON.")
    var json = false

    @OptionGroup var options: ConfigurationOptions

    func run(on communicator: some Communicator) throws {
        try PlanJob(model, asJSON: json).run(
            options.load(on: communicator), communicator, Reporter(isSpeaking: communicator.isRoot))
    }
}
