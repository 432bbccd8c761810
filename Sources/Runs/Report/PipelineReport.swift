package import Collectives
package import Parallelism
package import Support

/// How long the stages of a run waited for each other.
package struct PipelineReport {
    private let stages: Int
    /// The fraction of the passes' time in which stages waited, over all ranks.
    private let bubble: Double
    private let ideal: Double

    /// Collective.
    ///
    /// - Parameter batchSize: sequences of a step, over all replicas.
    package init(
        _ timing: PipelineTiming, _ microBatches: MicroBatches, batchSize: Int, _ groups: ParallelGroups<some Communicator>
    ) throws(MPIError) {
        stages = groups.dims.pipeline
        bubble = try timing.bubble(over: groups.world)
        let share = slice(of: batchSize, rank: 0, ranks: groups.dims.data).count
        ideal = PipelineSchedule.idealBubble(stages: stages, microbatches: microBatches.ranges(share).count)
    }

    /// Adds `bubble_fraction` and `ideal_bubble_fraction` to a job's part of `summary.json`.
    package func add(to results: inout JSONObject) {
        results["bubble_fraction"] = .double(bubble)
        results["ideal_bubble_fraction"] = .double(ideal)
    }

    /// For the user; nil where there is one stage.
    package var line: String? {
        guard stages > 1 else { return nil }
        return
            "stages waited \((100 * bubble).formatted(decimals: 1)) % of their passes' time; equal stages with free messages would "
            + "have waited (P−1)/(M+P−1) = \((100 * ideal).formatted(decimals: 1)) %"
    }
}
