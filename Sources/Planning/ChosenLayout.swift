package import Collectives
internal import Configuration
internal import EmbeddedModel
internal import HuggingFace
internal import Models
package import Parallelism

extension RunConfig {
    /// Chooses replicas and stages of a job on this world: what `parallel.*` says and, where it leaves them open, the layout of
    /// the run to resume or the fewest stages that the ranks' memory can hold. Of the model only config.json is read, or the
    /// header of a GGUF file. Collective.
    ///
    /// - Parameter before: asked on rank 0 for the stages that the run to resume had; nil from the beginning.
    /// - Throws: ``ConfigurationError`` where nothing fits or the numbers do not match the ranks; errors of config.json.
    package func chooseLayout(
        job: String, stagesBefore before: () -> Int?, over world: some Communicator
    ) throws -> ParallelDims {
        let shape = try world.agree {
            try ModelRegistry.model(ModelRegistry.configuration(at: EmbeddedModel.resolve(model.path))).architecture
        }
        // Other errors of the input are found when it is read.
        let canPlan = shape.isOfPlannableSize && data.sequenceLength <= shape.maximumPositions
        if canPlan, let job = ModelJob(rawValue: job) {
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
    /// Whether the model has fewer than 10¹⁵ parameters, both as it is and as ternary factors with as many components as the
    /// longer side of each matrix. Then no count of operations or bytes overflows. No checkpoint can match a larger
    /// config.json.
    package var isOfPlannableSize: Bool {
        let longest = Double(linears.flatMap(\.shape).max() ?? 0)
        let factors = Double(linears.count) * 2 * longest * longest
        return max(parameterCount, factors) + Double(hiddenSize) * Double(hiddenSize) < 1e15
    }
}
