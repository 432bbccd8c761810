internal import Configuration
internal import Glibc
internal import Models
internal import TransitionBus

/// What the ranks of a layout send each other in a step.
struct Traffic {
    private let workload: Workload
    private let layout: Layout
    private let parts: [StagePart]
    /// Of the hidden states and their gradient that cross a stage boundary for a micro-batch, forward and backward together.
    let boundaryBytes: Int

    init(_ workload: Workload, _ layout: Layout, _ parts: [StagePart], microbatch: Int) {
        self.workload = workload
        self.layout = layout
        self.parts = parts
        let tensor = 4 * microbatch * workload.length * workload.shape.hiddenSize
        boundaryBytes = !workload.runsNetwork ? 0 : tensor * ((workload.hasTeacher ? 2 : 1) + (workload.learns ? 1 : 0))
    }

    /// A rank's part in the sum over replicas: skew gradients, which are doubles, or those of all the stage's parameters and
    /// the slices of a sharded optimizer.
    private func reductionBytes(_ part: StagePart) -> Int {
        guard layout.ranks > 1, workload.learns else { return 0 }
        let (h, d) = (workload.shape.hiddenSize, workload.shape.headDimension ?? 0)
        guard workload.trainsWeights else {
            let r1 = workload.learnsR1 ? h * (h - 1) / 2 : 0
            return 8 * (r1 + (workload.learnsR2 ? workload.shape.layerCount * d * (d - 1) / 2 : 0))
        }
        guard layout.data > 1 else { return 0 }
        let parameters = parameters(part)
        return 4 * parameters + (workload.config.optimizer.shard ? 4 * parameters / layout.data : 0)
    }

    private func parameters(_ part: StagePart) -> Int {
        let cost = ModelCost(workload.shape)
        return part.blocks.reduce(0) { $0 + cost[$1].parameters } + (part.isFirst ? cost.head : 0)
            + (part.isLast && !(part.isFirst && workload.shape.tiesHead) ? cost.head : 0)
    }

    /// Handed over by the rank with most: a stage in the middle sends forward and backward.
    var bytesPerStep: Int {
        let crossing = layout.pipeline > 1 ? layout.microbatches * boundaryBytes : 0
        return crossing + (parts.map(reductionBytes).max() ?? 0) + Int(busBytes / Double(layout.data))
    }

    /// Of the transitions of a stage's ternary layers, which every replica of it gets.
    private var busBytes: Double {
        layout.data > 1 ? parts.map { TernaryWork(workload).publishedBytes($0) }.max() ?? 0 : 0
    }

    /// Until every replica has all transitions, and all have agreed that they have. Between nodes a transition travels once to
    /// each rank, or once to each node where its ranks share a relay; that passes it on in memory.
    func busSeconds(on cluster: Cluster) -> Double {
        guard busBytes > 0 else { return 0 }
        let replicas = Double(layout.data)
        let choice = workload.config.bus.route.topology
        let isRelayed = choice == .relay || choice == .auto && layout.data > BusTopology.directRanks
        let bandwidth = isRelayed ? cluster.bandwidth : cluster.bandwidthPerRank
        let shared = isRelayed ? cluster.ranksPerCore / Cluster.assumedBandwidth(nodes: 1) : 0
        let bytes = busBytes * (replicas - 1) / replicas
        return bytes * (cluster.ranksPerCore / bandwidth + shared) + (isRelayed ? 6 : 4) * log2(replicas) * cluster.latency
    }

    /// A ring moves 2(n − 1)/n of the buffer through every rank, and takes 2·log₂ n messages' time besides. Rotations are
    /// summed over all ranks, weights over the replicas of a stage.
    func reductionSeconds(on cluster: Cluster) -> Double {
        let bytes = parts.map(reductionBytes).max() ?? 0
        let ranks = Double(workload.trainsWeights ? layout.data : layout.ranks)
        guard bytes > 0, ranks > 1 else { return 0 }
        return 2 * (ranks - 1) / ranks * Double(bytes) / cluster.bandwidthPerRank * cluster.ranksPerCore + 2 * log2(ranks)
            * cluster.latency
    }
}
