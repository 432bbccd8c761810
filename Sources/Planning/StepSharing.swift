package import Collectives
internal import Configuration
internal import Glibc
internal import Models
internal import Rotation

/// Which work the ranks of a job divide although each could do all of it: where repeating the work takes longer than exchanging
/// the results. No result depends on this choice.
package struct StepSharing: Sendable, Equatable {
    /// The Cayley steps, and the test of their results, are divided by rows among all ranks.
    package let dividesUpdate: Bool
    /// Rotating and rounding weights is divided by matrices among the replicas of a stage.
    package let dividesWeights: Bool
    /// Seconds until each rank has the others' results, and bytes that a rank sends to them.
    let exchangeSeconds: Double
    let exchangedBytes: Double

    package init(_ workload: Workload, _ layout: Layout, on cluster: Cluster) {
        let work = StageWork(workload, sequences: 1, replicas: layout.data)
        var (seconds, exchanged) = (0.0, 0.0)
        func pays(_ alone: Work, bytes: Double, ranks: Int, messages: Int) -> Bool {
            let saved = (1 - 1 / Double(ranks)) * alone.seconds(on: cluster)
            let gathering = cluster.gatherSeconds(bytes: bytes, ranks: ranks, messages: messages)
            guard ranks > 1, saved > gathering else { return false }
            (seconds, exchanged) = (seconds + gathering, exchanged + bytes / Double(ranks))
            return true
        }
        let isRotate = workload.job == .rotate
        dividesUpdate =
            isRotate && workload.config.rotation.retraction == .exact
            && pays(work.retraction.byRow, bytes: work.rotationBytes, ranks: layout.ranks, messages: 2)
        let parts = workload.parts(layout)
        let weights = parts.map { work.weightsOnce($0) }.max { $0.bytes < $1.bytes }
        dividesWeights =
            isRotate && workload.runsNetwork
            && pays(
                weights?.work ?? Work(), bytes: weights?.bytes ?? 0, ranks: layout.data,
                messages: 8 * (parts.map(\.blocks.count).max() ?? 0))
        (exchangeSeconds, exchangedBytes) = (seconds, exchanged)
    }
}

extension Cluster {
    /// The machines that a job runs on. Collective.
    ///
    /// - Parameters:
    ///   - threads: threads of this rank's products; the smallest number of all ranks counts.
    ///   - productFlops: operations per second of a large product, on this rank, while the others measure theirs.
    package init(of world: some Communicator, threads: Int, productFlops: Double) throws(MPIError) {
        let perNode = Int(try world.allReduce(Int64(world.ranksOnNode()), .max))
        let nodes = (world.size + perNode - 1) / perNode
        let speed = try world.allReduce(productFlops, .sum) / Double(world.size)
        // All ranks must decide alike from the description of the cluster.
        let threads = Int(try world.allReduce(Int64(threads), .min))
        // Where ranks share cores, the measured speed includes that already.
        self.init(
            nodes: nodes, ranksPerNode: perNode, coresPerNode: perNode * threads, memoryPerNode: 0,
            bandwidth: Self.assumedBandwidth(nodes: nodes), latency: Self.assumedLatency(nodes: nodes),
            productFlops: speed / Double(threads))
    }

    /// Seconds to gather a buffer of `bytes` bytes, of which each rank has a part, on all ranks.
    func gatherSeconds(bytes: Double, ranks: Int, messages: Int) -> Double {
        let share = (Double(ranks) - 1) / Double(ranks)
        return share * bytes / bandwidthPerRank * threadsPerCore + Double(messages) * log2(Double(ranks)) * latency
    }
}

extension Planner {
    /// The share of a step's operations on all ranks that several ranks repeat. A written value counts as one operation, a
    /// weight rounded with a search as 80 candidates of 8 operations each.
    package func replicatedShare(_ layout: Layout) -> Double {
        let stages = stages(layout, StepSharing(workload, layout, on: cluster))
        let (alike, all) = stages.reduce(into: (0.0, 0.0)) { sums, stage in
            if layout.ranks > 1 { sums.0 += stage.once.byAll.countedOperations }
            if layout.data > 1 { sums.0 += stage.once.byReplicas.countedOperations }
            sums.1 += (Double(layout.microbatches) * stage.perMicrobatch + stage.once.total).countedOperations
        }
        return all > 0 ? alike / all : 0
    }
}

extension Work {
    fileprivate var countedOperations: Double { operations + values + 80 * 8 * searches }
}
