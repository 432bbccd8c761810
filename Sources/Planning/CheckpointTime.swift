internal import Configuration

/// What a training's checkpoints take: a thread hashes and writes a copy of the state beside the steps that follow.
struct CheckpointTime {
    private let workload: Workload
    private let cluster: Cluster
    /// Seconds that one checkpoint takes, on the rank with most to write.
    let seconds: Double

    init(_ workload: Workload, _ parts: [StagePart], replicas: Int, on cluster: Cluster) {
        (self.workload, self.cluster) = (workload, cluster)
        let most =
            workload.trainsWeights && workload.config.checkpoint.every > 0
            ? parts.map { StageMemory(workload, $0).saved(replicas: replicas) }.max() ?? 0 : 0
        let work = Work(values: CalibratedRates.valuesOfSaving * most)
        seconds = work.seconds(on: cluster) * cluster.threadsPerCore
    }

    /// Of each step, the seconds that go to checkpoints being written: none where a core is idle. The last checkpoint has no
    /// step after it.
    var besideAStep: Double {
        let hasIdleCore = cluster.coresPerNode > cluster.ranksPerNode * cluster.threadsPerRank
        guard seconds > 0, !hasIdleCore else { return 0 }
        return Double((workload.steps - 1) / workload.config.checkpoint.every) / Double(workload.steps) * seconds
    }
}
