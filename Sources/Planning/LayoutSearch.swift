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
    /// Of the tokens that steps look at.
    package let tokensPerSecond: Double

    /// To compare batches by: steps that do not run the network take no more tokens of a larger one.
    fileprivate let speed: Double

    package var hours: Double { seconds / 3600 }
    /// Of all cores of the cluster, whether they are busy or not.
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

/// Every way to place a job on a cluster that its settings leave open: ranks a node, with the threads that the cores leave
/// each, replicas × stages, micro-batches. And what larger batches would bring.
package struct LayoutSearch: Sendable {
    package let workload: Workload
    package let cluster: Cluster
    /// Of the batch that is set, the best first: those that run, by time, then those that do not.
    package let runs: [PlannedRun]
    /// The best of each larger batch that is a twentieth faster than any smaller one.
    package let largerBatches: [PlannedRun]

    /// - Parameter ranksPerNode: nil to search.
    package init(_ job: PlannedJob, _ config: RunConfig, _ shape: Architecture, _ cluster: Cluster, ranksPerNode: Int?) {
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

    /// The run to take: the best with the batch that is set, or where none has a sequence for every replica, with the smallest
    /// that has.
    package var best: PlannedRun? { runs.first.flatMap { $0.planned.runs ? $0 : nil } ?? largerBatches.first }

    /// The number asked for; else whatever divides the cores, and powers of two.
    private static func ranksPerNode(_ asked: Int?, cores: Int) -> [Int] {
        if let asked { return [asked] }
        return (1...cores).filter { cores % $0 == 0 || $0 & ($0 - 1) == 0 }
    }

    /// Those that run come first, by time; of some that are as fast as the fastest among them, nearly, the one of fewest ranks
    /// a node and stages, then with micro-batches as a run cuts them itself, then the one that takes least memory.
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

    /// Times that are no further apart are as good as equal: predictions are less exact.
    private static let nearly = 1.01

    /// The best that runs.
    private static func best(_ workload: Workload, _ clusters: [Cluster]) -> PlannedRun? {
        runs(workload, clusters).first.flatMap { $0.planned.runs ? $0 : nil }
    }
}
