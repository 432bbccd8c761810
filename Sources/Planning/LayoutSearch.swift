package import Configuration
package import Models

/// A job on so many ranks a node, divided in one way.
package struct PlannedRun: Sendable {
    /// With the ranks a node of this run.
    package let cluster: Cluster
    /// Sequences of a step, or of the evaluation where that is the job.
    package let sequences: Int
    package let planned: PlannedLayout
    /// Of the whole job.
    package let seconds: Double
    package let tokensPerSecond: Double

    package var hours: Double { seconds / 3600 }
    /// Of all cores of the cluster, whether they are busy or not.
    package var coreHours: Double { hours * Double(cluster.nodes * cluster.coresPerNode) }

    init(_ planned: PlannedLayout, _ workload: Workload, _ time: JobTime, on cluster: Cluster) {
        self.cluster = cluster
        self.planned = planned
        sequences = workload.sequences
        seconds = time.seconds(planned, on: cluster)
        tokensPerSecond = Double(workload.sequences * workload.length) / planned.secondsPerStep
    }
}

/// Every way to place a job on a cluster that its settings leave open: ranks a node, with the threads that the cores leave
/// each, replicas × stages, micro-batches. And what larger batches would bring.
package struct LayoutSearch: Sendable {
    package let workload: Workload
    package let cluster: Cluster
    /// Of the batch that is set, the best first: those that run, by time, then those that do not.
    package let runs: [PlannedRun]
    /// The best of each larger batch whose tokens a second are a twentieth more than of any smaller one.
    package let largerBatches: [PlannedRun]

    /// - Parameter ranksPerNode: nil to search.
    package init(_ job: PlannedJob, _ config: RunConfig, _ shape: Architecture, _ cluster: Cluster, ranksPerNode: Int?) {
        workload = Workload(job, config, shape)
        self.cluster = cluster
        let clusters = Self.ranksPerNode(ranksPerNode, cores: cluster.coresPerNode).map { ranks in
            var cluster = cluster
            cluster.ranksPerNode = ranks
            return cluster
        }
        runs = Self.runs(workload, clusters)
        guard workload.learns else {
            largerBatches = []
            return
        }
        let most = clusters.map(\.ranks).max() ?? 1
        var fastest = runs.first.map { $0.planned.runs ? $0.tokensPerSecond : 0 } ?? 0
        var found: [PlannedRun] = []
        var larger = config
        while larger.training.batchSize < 4 * most, larger.training.batchSize < 1 << 16 {
            larger.training.batchSize *= 2
            guard let best = Self.best(Workload(job, larger, shape), clusters), best.tokensPerSecond > 1.05 * fastest else {
                continue
            }
            fastest = best.tokensPerSecond
            found.append(best)
        }
        largerBatches = found
    }

    /// The run to take: the best with the batch that is set, or where none has a sequence for every replica, with the smallest
    /// that has.
    package var best: PlannedRun? { runs.first.flatMap { $0.planned.runs ? $0 : nil } ?? largerBatches.first }

    /// The number asked for; else whatever divides the cores, and powers of two.
    private static func ranksPerNode(_ asked: Int?, cores: Int) -> [Int] {
        if let asked { return [asked] }
        return (1...cores).filter { cores % $0 == 0 || $0 & ($0 - 1) == 0 }
    }

    private static func runs(_ workload: Workload, _ clusters: [Cluster]) -> [PlannedRun] {
        let time = JobTime(workload)
        let all = clusters.flatMap { cluster in
            Planner(workload, cluster).layouts().map { PlannedRun($0, workload, time, on: cluster) }
        }
        // Where all else is equal, fewer ranks a node come first.
        return all.sorted { a, b in
            guard a.planned.runs, b.planned.runs else { return a.planned.isBetter(than: b.planned) }
            return (a.seconds, a.cluster.ranksPerNode, a.planned.layout.pipeline, a.planned.layout.microbatches)
                < (b.seconds, b.cluster.ranksPerNode, b.planned.layout.pipeline, b.planned.layout.microbatches)
        }
    }

    /// The fastest that runs.
    private static func best(_ workload: Workload, _ clusters: [Cluster]) -> PlannedRun? {
        let time = JobTime(workload)
        let candidates = clusters.compactMap { cluster -> PlannedRun? in
            guard let best = Planner(workload, cluster).layouts().first, best.runs else { return nil }
            return PlannedRun(best, workload, time, on: cluster)
        }
        return candidates.min {
            ($0.planned.secondsPerStep, $0.cluster.ranksPerNode) < ($1.planned.secondsPerStep, $1.cluster.ranksPerNode)
        }
    }
}
