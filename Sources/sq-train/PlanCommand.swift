internal import ArgumentParser
internal import Collectives
internal import Configuration
internal import Jobs

struct PlanCommand: RankCommand {
    static let configuration = CommandConfiguration(
        commandName: PlanSettings.command,
        abstract: "Predict a job's hours, core-hours and memory on a cluster, and say how to start it there.",
        discussion: """
            The job is plan.job, the cluster plan.nodes, plan.cores_per_node and others (see --print-config). Ranks a node, \
            threads, replicas, stages and micro-batches are searched. With neither nodes nor cores given the plan is for this \
            machine; of another cluster what is not given is assumed, and said. Of the model only config.json is read, or a \
            GGUF file's head:
              sq-train plan config.json --set plan.nodes=4 --set plan.cores_per_node=64 --set plan.memory_per_node=512GiB
            """)

    @Argument(help: "A Hugging Face folder, a config.json or a GGUF file (default: model.path).")
    var model: String?

    @Flag(help: "Print the plan as JSON.")
    var json = false

    @OptionGroup var options: ConfigurationOptions

    func validate() throws { try options.checkNamesNoFolder(PlanSettings.command) }

    func run(on communicator: some Communicator) throws {
        try withSettings(model: model, on: communicator) {
            try PlanJob(model, asJSON: json).run($0, communicator, $1)
        }
    }
}
