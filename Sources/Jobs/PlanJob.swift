package import Collectives
internal import Compression
package import Configuration
internal import Datasets
internal import EmbeddedModel
internal import Glibc
internal import HuggingFace
internal import Models
internal import Planning
package import Runs
internal import Support
internal import Trainer

/// Prints what a job would need on a cluster, for each way to divide its ranks into replicas and stages. Nothing is run or
/// written, and of the model only config.json is read, or the header of a GGUF file.
package struct PlanJob {
    private let model: String?
    private let asJSON: Bool

    /// - Parameter model: a model's folder, a config.json or a GGUF file; nil for the model of `model.path`.
    package init(_ model: String?, asJSON: Bool) {
        self.model = model
        self.asJSON = asJSON
    }

    /// Prints what the job needs, as text or JSON; runs no network.
    ///
    /// - Throws: ``ConfigurationError`` where no layout can run, after the report is printed.
    package func run(_ config: RunConfig, _ world: some Communicator, _ reporter: Reporter) throws {
        var problem: ConfigurationError?
        let text = try world.fromRoot {
            let report = try report(config)
            problem = report.problem
            return asJSON ? report.json.text() : report.text
        }
        reporter.note(text)
        try world.agree { if let problem { throw problem } }
    }

    private func report(_ config: RunConfig) throws -> PlanReport {
        let job = type(of: config.plan.job.job)
        try job.checkSettings(config)
        let given = try EmbeddedModel.resolve(model ?? config.model.path)
        let path = model == nil ? given : try GivenPath.model(given)
        let keys = try ModelRegistry.configuration(at: path)
        guard !CompressedFolder.isPacked(path, keys) else {
            throw ConfigurationError(path, "is compressed already; plan the job on the model it was made from")
        }
        let shape = try ModelRegistry.model(keys).architecture
        guard shape.isOfPlannableSize else {
            throw FileError(.malformed, path, "describes a model of more than 10¹⁵ parameters")
        }
        guard config.data.sequenceLength <= shape.maximumPositions else {
            throw DataError.sequenceTooLong(length: config.data.sequenceLength, maximum: shape.maximumPositions)
        }
        try job.check(config, shape, path)
        try config.checkExports(job: job.name, shape)
        let cluster = Cluster(config.plan)
        let search = LayoutSearch(config.plan.job, config, shape, cluster, ranksPerNode: config.plan.ranksPerNode)
        guard !search.runs.isEmpty else {
            throw ConfigurationError(
                "parallel",
                "no layout of \(counted(cluster.ranks, "rank")), or fewer per node, has the replicas and stages asked for, "
                    + "with at most \(shape.blocks.count) stages, the most that the model's "
                    + "\(counted(shape.layerCount, "layer")) can be divided into; change parallel.*, plan.nodes or "
                    + "plan.ranks_per_node")
        }
        return PlanReport(search, config, model: path)
    }
}
