package import Configuration
package import Models

/// A job with some number of ranks per node, in one layout.
package struct PlannedRun: Sendable {
    /// The cluster, with this run's ranks per node.
    package let cluster: Cluster
    /// Sequences of a step, or of the evaluation where that is the job.
    package let sequences: Int
    package let planned: PlannedLayout
    /// Seconds of the whole job.
    package let seconds: Double
    /// Tokens per second, of those that steps look at.
    package let tokensPerSecond: Double

    /// A speed to compare batch sizes by. Steps that do not run the network look at no more tokens of a larger batch.
    fileprivate let speed: Double

    package var hours: Double { seconds / 3600 }
    /// Core-hours of all cores of the cluster, whether they are busy or not.
    package var coreHours: Double { hours * Double(cluster.nodes * cluster.coresPerNode) }

    init(_ planned: PlannedLayout, _ workload: Workload, _ time: JobTime, on cluster: Cluster) {
        self.cluster = cluster
        self.planned = planned
        sequences = workload.sequences
        seconds = time.seconds(planned, on: cluster)
        tokensPerSecond = Double(workload.tokensPerStep) / planned.secondsPerStep
        speed = workload.runsNetwork ? tokensPerSecond : 1 / seconds
    }
}

/// Every way to place a job on a cluster that its settings leave open: ranks per node with the threads that the cores leave for
/// each, replicas × stages, and micro-batches. Also the gain of larger batches.
package struct LayoutSearch: Sendable {
    package let workload: Workload
    package let cluster: Cluster
    /// Runs with the batch size that is set, the best first: those that run, by time, then those that do not.
    package let runs: [PlannedRun]
    /// The best run of each larger batch size that is at least a twentieth faster than all smaller ones.
    package let largerBatches: [PlannedRun]

    /// - Parameter ranksPerNode: nil to search.
    package init(_ job: ModelJob, _ config: RunConfig, _ shape: Architecture, _ cluster: Cluster, ranksPerNode: Int?) {
        workload = Workload(job, config, shape)
        self.cluster = cluster
        let clusters = Self.ranksPerNode(ranksPerNode, cores: cluster.coresPerNode).map { ranks in
            var cluster = cluster
            cluster.ranksPerNode = ranks
            cluster.threads = config.parallel.threads
            return cluster
        }
        runs = Self.runs(workload, clusters)
        guard workload.learns else {
            largerBatches = []
            return
        }
        let most = clusters.map(\.ranks).max() ?? 1
        var fastest = runs.first.map { $0.planned.runs ? $0.speed : 0 } ?? 0
        var found: [PlannedRun] = []
        var larger = config
        while larger.training.batchSize < 4 * most, larger.training.batchSize <= TrainingSettings.largestBatch / 2 {
            larger.training.batchSize *= 2
            guard let best = Self.best(Workload(job, larger, shape), clusters), best.speed > 1.05 * fastest else { continue }
            fastest = best.speed
            found.append(best)
        }
        largerBatches = found
    }

    /// The recommended run: the best with the batch size that is set or, if none of these has a sequence for every replica,
    /// with the smallest batch size for which one has.
    package var best: PlannedRun? { runs.first.flatMap { $0.planned.runs ? $0 : nil } ?? largerBatches.first }

    /// The number asked for; otherwise all divisors of the number of cores, and powers of two.
    private static func ranksPerNode(_ asked: Int?, cores: Int) -> [Int] {
        if let asked { return [asked] }
        return (1...cores).filter { cores % $0 == 0 || $0 & ($0 - 1) == 0 }
    }

    /// Runs that work come first, by time. Among those nearly as fast as the fastest, the first has the fewest ranks per node,
    /// then the fewest stages, then micro-batches as a run itself divides them, then the least memory.
    private static func runs(_ workload: Workload, _ clusters: [Cluster]) -> [PlannedRun] {
        let time = JobTime(workload)
        let all = clusters.flatMap { cluster in
            Planner(workload, cluster).layouts().map { PlannedRun($0, workload, time, on: cluster) }
        }
        func key(_ run: PlannedRun) -> (Int, Int, Int, Int) {
            let layout = run.planned.layout
            let isOwn = layout.microbatches == workload.microbatches(data: layout.data, stages: layout.pipeline)
            return (run.cluster.ranksPerNode, layout.pipeline, isOwn ? 0 : 1, run.planned.peakMemory)
        }
        var (rest, ordered) = (all.filter(\.planned.runs).sorted { $0.seconds < $1.seconds }[...], [PlannedRun]())
        while let fastest = rest.first {
            let equals = rest.prefix { $0.seconds <= nearly * fastest.seconds }
            ordered += equals.sorted { key($0) < key($1) }
            rest = rest.dropFirst(equals.count)
        }
        return ordered + all.filter { !$0.planned.runs }.sorted { $0.planned.isBetter(than: $1.planned) }
    }

    /// Times within this ratio count as equal, since predictions are less accurate than that.
    private static let nearly = 1.01

    /// The best that runs.
    private static func best(_ workload: Workload, _ clusters: [Cluster]) -> PlannedRun? {
        runs(workload, clusters).first.flatMap { $0.planned.runs ? $0 : nil }
    }
}
