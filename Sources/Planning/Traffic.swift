internal import Configuration
internal import Glibc
internal import Models
internal import TransitionBus

/// What the ranks of a layout send each other in a step.
struct Traffic {
    private let workload: Workload
    private let layout: Layout
    private let parts: [StagePart]
    /// Bytes that cross a stage boundary for a micro-batch: the hidden states of each network that runs forward, and the
    /// gradient in the other direction.
    private let forwardBytes: Double
    private let backwardBytes: Double

    init(_ workload: Workload, _ layout: Layout, _ parts: [StagePart], microbatch: Int) {
        self.workload = workload
        self.layout = layout
        self.parts = parts
        let tensor = workload.runsNetwork ? 4 * Double(microbatch * workload.length) * Double(workload.shape.hiddenSize) : 0
        (forwardBytes, backwardBytes) = (Double(workload.passes) * tensor, workload.runsBackward ? tensor : 0)
    }

    /// Bytes of a rank in the sum over replicas: skew gradients in double precision, or the gradients of all parameters of the
    /// stage and the slices of a sharded optimizer.
    private func reductionBytes(_ part: StagePart) -> Double {
        guard layout.ranks > 1, workload.learns else { return 0 }
        let (h, d) = (workload.shape.hiddenSize, workload.shape.headDimension ?? 0)
        guard workload.trainsWeights else {
            let r1 = workload.learnsR1 ? h * (h - 1) / 2 : 0
            return 8 * Double(r1 + (workload.learnsR2 ? workload.shape.layerCount * d * (d - 1) / 2 : 0))
        }
        guard layout.data > 1 else { return 0 }
        let bytes = 4 * workload.parameters(part)
        return bytes + (workload.config.optimizer.shard ? bytes / Double(layout.data) : 0)
    }

    /// Bytes of the gradient of a tied head, which the first and the last stage exchange.
    private var tiedBytes: Double {
        let crosses = workload.trainsWeights && workload.shape.tiesHead && layout.pipeline > 1
        return crosses ? 4 * Double(workload.shape.head.count) : 0
    }

    /// Bytes sent for a micro-batch by the stage that sends most: a middle stage sends forward and backward.
    private var crossingBytes: Double {
        switch layout.pipeline {
        case 1: 0
        case 2: max(forwardBytes, backwardBytes)
        default: forwardBytes + backwardBytes
        }
    }

    /// Bytes sent in a step by the rank that sends most.
    ///
    /// - Parameter exchanged: see ``StepSharing``.
    func bytesPerStep(exchanged: Double) -> Int {
        let sums = (parts.map(reductionBytes).max() ?? 0) + tiedBytes
        return Int(bytes: Double(layout.microbatches) * crossingBytes + sums + busBytes / Double(layout.data) + exchanged)
    }

    /// Seconds of a micro-batch's messages: `stage`, during which the stage computes nothing, and `boundary`, over one boundary
    /// in both directions.
    func crossingSeconds(on cluster: Cluster) -> (stage: Double, boundary: Double) {
        guard layout.pipeline > 1 else { return (0, 0) }
        let bandwidth = cluster.boundaryBandwidth(stages: layout.pipeline)
        let messages = Double(workload.passes + (workload.runsBackward ? 1 : 0)) * cluster.latency
        return (messages + crossingBytes / bandwidth, messages + (forwardBytes + backwardBytes) / bandwidth)
    }

    /// Bytes of the transitions of a stage's ternary layers, which each of its replicas receives.
    private var busBytes: Double {
        layout.data > 1 ? parts.map { TernaryWork(workload).publishedBytes($0) }.max() ?? 0 : 0
    }

    /// Seconds until every replica has all transitions and all have agreed on that. Between nodes a transition is sent once to
    /// each rank, or once to each node if its ranks share a relay, which passes it on in memory.
    func busSeconds(on cluster: Cluster) -> Double {
        guard busBytes > 0 else { return 0 }
        let replicas = Double(layout.data)
        let choice = workload.config.bus.route.topology
        let isRelayed = choice == .relay || choice == .auto && layout.data > BusTopology.directRanks
        let bandwidth = isRelayed ? cluster.bandwidth : cluster.bandwidthPerRank
        let shared = isRelayed ? cluster.threadsPerCore / Cluster.assumedBandwidth(nodes: 1) : 0
        let bytes = busBytes * (replicas - 1) / replicas
        return bytes * (cluster.threadsPerCore / bandwidth + shared) + (isRelayed ? 6 : 4) * log2(replicas) * cluster.latency
    }

    /// Seconds of the sums. A ring moves 2(n − 1)/n of the buffer through every rank, and takes the latency of 2·log₂ n
    /// messages. Gradients of rotations are summed over all ranks, those of weights over the replicas of a stage, and that of a
    /// tied head also over its two stages.
    func reductionSeconds(on cluster: Cluster) -> Double {
        let bytes = parts.map(reductionBytes).max() ?? 0
        let ranks = Double(workload.trainsWeights ? layout.data : layout.ranks)
        let tied = tiedBytes > 0 ? tiedBytes / cluster.bandwidthPerRank + cluster.latency : 0
        guard bytes > 0, ranks > 1 else { return tied }
        return tied + 2 * (ranks - 1) / ranks * bytes / cluster.bandwidthPerRank * cluster.threadsPerCore + 2 * log2(ranks)
            * cluster.latency
    }
}
