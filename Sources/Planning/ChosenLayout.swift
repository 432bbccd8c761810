package import Collectives
internal import Configuration
internal import EmbeddedModel
internal import HuggingFace
internal import Models
package import Parallelism

extension RunConfig {
    /// Replicas and stages of a job on this world: what `parallel.*` says, and of what it leaves open the fewest stages that
    /// the ranks' memory can hold, or what the run to resume had. Of the model its config.json is read, or a GGUF file's head.
    /// Collective.
    ///
    /// - Parameter before: asked on rank 0 for the stages that the run to resume had; nil from the beginning.
    /// - Throws: ``ConfigurationError`` where nothing fits, or the numbers do not go with the ranks; what is wrong with
    ///   config.json.
    package func chooseLayout(
        job: String, stagesBefore before: () -> Int?, over world: some Communicator
    ) throws -> ParallelDims {
        let path = model.path ?? EmbeddedModel.path
        let shape = try world.agree { try ModelRegistry.model(ModelRegistry.configuration(at: path)).architecture }
        // What is wrong with the input besides is found when it is read.
        let canPlan = shape.isOfPlannableSize && data.sequenceLength <= shape.maximumPositions
        if canPlan, let job = PlannedJob(rawValue: job) {
            let chooser = try LayoutChooser(Workload(job, self, shape), over: world)
            let stages = try world.broadcast(Int64(world.isRoot ? before() ?? 0 : 0))
            if let layout = try world.agree({ try chooser.choose(preferring: Int(stages)) }) {
                return ParallelDims(data: layout.data, pipeline: layout.pipeline)
            }
        }
        return try world.agree { try layout(worldSize: world.size) }
    }
}

extension Architecture {
    /// Whether the model has fewer than 10¹⁵ parameters, as it is and as ternary factors with as many components as the longer
    /// side is long, so that no count of operations or bytes overflows. Any other is a config.json that no checkpoint goes
    /// with.
    package var isOfPlannableSize: Bool {
        let longest = Double(linears.flatMap(\.shape).max() ?? 0)
        let factors = Double(linears.count) * 2 * longest * longest
        return max(parameterCount, factors) + Double(hiddenSize) * Double(hiddenSize) < 1e15
    }
}
