internal import Collectives
package import Configuration
internal import LinearAlgebra
internal import Support
internal import TensorCore

/// The machines a run is planned for.
package struct Cluster: Sendable, Equatable {
    package var nodes: Int
    package var ranksPerNode: Int
    package var coresPerNode: Int
    /// Bytes.
    package var memoryPerNode: Int
    /// Bytes that a single process may use, whatever a node has.
    package var memoryPerProcess = Int.max
    /// Bytes per second that can leave a node; on a single node, bytes per second between two ranks.
    package var bandwidth: Double
    /// Seconds that a small message takes.
    package var latency: Double
    /// Operations per second of a matrix product on one core.
    package var productFlops: Double
    /// Threads of a rank; nil for its share of the cores.
    package var threads: Int?

    /// What is assumed about machines other than this one, as sentences.
    package var assumptions: [String] = []

    package var ranks: Int { nodes * ranksPerNode }
    package var memoryPerRank: Int { min(memoryPerNode / ranksPerNode, memoryPerProcess) }
    /// Threads that a rank's products run on.
    package var threadsPerRank: Int { threads ?? max(1, coresPerNode / ranksPerNode) }
    /// Threads that share one core; 1 where there are enough cores.
    package var threadsPerCore: Double { max(1, Double(ranksPerNode * threadsPerRank) / Double(coresPerNode)) }
    /// Bytes per second for one rank while all others send, too.
    package var bandwidthPerRank: Double { nodes == 1 ? bandwidth : bandwidth / Double(ranksPerNode) }
    /// Bytes per second from a stage to the next one. Where a node holds whole replicas, all stage boundaries are within the
    /// node. Otherwise one boundary leads to the next node, and has that node's network to itself.
    func boundaryBandwidth(stages: Int) -> Double {
        nodes == 1 || ranksPerNode % stages != 0 ? bandwidth : Self.assumedBandwidth(nodes: 1)
    }

    package init(
        nodes: Int, ranksPerNode: Int, coresPerNode: Int, memoryPerNode: Int, bandwidth: Double, latency: Double,
        productFlops: Double
    ) {
        self.nodes = nodes
        self.ranksPerNode = ranksPerNode
        self.coresPerNode = coresPerNode
        self.memoryPerNode = memoryPerNode
        self.bandwidth = bandwidth
        self.latency = latency
        self.productFlops = productFlops
    }

    /// The cluster that the settings describe. A plan for one node without a number of cores is for this machine, whose
    /// properties then fill what is left open. For any other cluster, open properties are assumed, independently of this
    /// machine, and listed in ``assumptions``.
    package init(_ settings: PlanSettings) {
        let isHere = settings.nodes == 1 && settings.coresPerNode == nil
        let isAlone = settings.nodes == 1
        let cores = settings.coresPerNode ?? (isHere ? MPIEnvironment.availableCores : AssumedNode.cores)
        let memory = settings.memoryPerNode?.bytes ?? (isHere ? AvailableMemory.bytes : AssumedNode.memoryPerCore * cores)
        self.init(
            nodes: settings.nodes, ranksPerNode: settings.ranksPerNode ?? cores, coresPerNode: cores, memoryPerNode: memory,
            bandwidth: settings.bandwidth ?? Self.assumedBandwidth(nodes: settings.nodes),
            latency: settings.latency ?? Self.assumedLatency(nodes: settings.nodes),
            productFlops: settings.productFlops ?? (isHere ? Self.measuredFlops() : AssumedNode.productFlops))
        let speed = "\((productFlops / 1e9).formatted(decimals: 0)) GFLOPS a core"
        if isHere {
            if let room = AvailableMemory.processRoom, room < memory {
                memoryPerProcess = room
                assumptions.append("\(ByteCount(room).rounded) a rank: its limit of addresses here (ulimit -v or -d)")
            }
            if settings.memoryPerNode == nil {
                assumptions.append("\(ByteCount(memory).rounded) are what this machine has free now")
            }
            if settings.productFlops == nil { assumptions.append("\(speed): measured here, now") }
            return
        }
        if settings.coresPerNode == nil { assumptions.append("\(cores) cores a node: give plan.cores_per_node") }
        if settings.memoryPerNode == nil {
            assumptions.append("\(ByteCount(AssumedNode.memoryPerCore).rounded) of memory a core: give plan.memory_per_node")
        }
        if settings.productFlops == nil {
            assumptions.append("\(speed) (AVX2 at 2 GHz; AVX-512: about twice that): give plan.gemm_flops")
        }
        let between = isAlone ? "ranks of a node" : "nodes"
        if settings.bandwidth == nil {
            assumptions.append(
                "\((8 * bandwidth / 1e9).formatted(decimals: 0)) Gbit/s between \(between): give plan.bandwidth, in "
                    + "bytes a second")
        }
        if settings.latency == nil {
            assumptions.append(
                "\((1e6 * latency).formatted(decimals: 0)) µs for a message between \(between): give plan.latency, in seconds")
        }
    }

    /// Assumed bytes per second: of shared memory on one node, of the network on several.
    static func assumedBandwidth(nodes: Int) -> Double {
        nodes == 1 ? AssumedNode.sharedBandwidth : AssumedNode.bandwidth
    }
    static func assumedLatency(nodes: Int) -> Double {
        nodes == 1 ? AssumedNode.sharedLatency : AssumedNode.latency
    }

    private static func measuredFlops() -> Double {
        let threads = Team.threads
        Team.threads = 1
        defer { Team.threads = threads }
        return measureProductPeak()
    }
}
