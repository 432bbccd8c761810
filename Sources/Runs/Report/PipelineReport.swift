package import Collectives
package import Parallelism
package import Support

/// How long the stages of a run waited for each other.
package struct PipelineReport {
    private let stages: Int
    /// nil where this attempt of the run has taken no step.
    private let waiting: PipelineTiming.Waiting?
    private let ideal: Double

    /// Collective.
    ///
    /// - Parameter batchSize: sequences of a step, over all replicas.
    package init(
        _ timing: PipelineTiming, _ microBatches: MicroBatches, batchSize: Int, _ groups: ParallelGroups<some Communicator>
    ) throws(MPIError) {
        stages = groups.dims.pipeline
        let shares = [0, groups.dims.data - 1].map { slice(of: batchSize, rank: $0, ranks: groups.dims.data).count }
        let cuts = shares.map { microBatches.ranges($0) }
        let smallest = zip(cuts, shares).map { Double($0.last?.count ?? 0) / Double(max(1, $1)) }.min() ?? 0
        let count = timing.seconds.count
        let times = try groups.world.allGather(timing.seconds)
        let timings = stride(from: 0, to: times.count, by: count).map { PipelineTiming(seconds: Array(times[$0..<$0 + count])) }
        let hasSteps = timings.contains { $0.total > 0 }
        waiting = hasSteps ? PipelineTiming.waiting(timings, stages: stages, smallest: smallest) : nil
        ideal = PipelineSchedule.idealBubble(stages: stages, microbatches: cuts[0].count)
    }

    /// Adds to a job's part of `summary.json`: `bubble_fraction` (measured), `least_bubble_fraction` (the least possible with
    /// these stages), `ideal_bubble_fraction` (with equal stages), and `pipeline_efficiency`. They are null where nothing was
    /// measured.
    package func add(to results: inout JSONObject) {
        results["bubble_fraction"] = .init(waiting?.measured)
        results["least_bubble_fraction"] = .init(waiting?.least)
        results["ideal_bubble_fraction"] = .init(waiting.map { _ in ideal })
        results["pipeline_efficiency"] = .init(waiting?.efficiency)
    }

    /// The line for the user; nil where there is one stage, or nothing was measured.
    package var line: String? {
        guard stages > 1, let waiting else { return nil }
        func percent(_ fraction: Double) -> String { "\((100 * fraction).formatted(decimals: 1)) %" }
        return
            "stages waited \(percent(waiting.measured)) of their passes' time; these stages must wait "
            + "\(percent(waiting.least)) at least, equal ones one pass after the other (P−1)/(M+P−1) = \(percent(ideal)): "
            + "\(waiting.efficiency.formatted(decimals: 2)) of the possible speed"
    }
}
