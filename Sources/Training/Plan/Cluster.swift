internal import Collectives
internal import LinearAlgebra

/// The machines a run is planned for.
package struct Cluster: Sendable, Equatable {
    package var nodes: Int
    package var ranksPerNode: Int
    package var coresPerNode: Int
    /// Bytes.
    package var memoryPerNode: Int
    /// Bytes per second that leave a node; on one node, that pass between two ranks.
    package var bandwidth: Double
    /// Seconds of a small message.
    package var latency: Double
    /// Operations per second of a matrix product on one core.
    package var productFlops: Double

    package var ranks: Int { nodes * ranksPerNode }
    package var memoryPerRank: Int { memoryPerNode / ranksPerNode }
    /// Threads a rank's products run on: its share of the cores.
    package var threadsPerRank: Int { max(1, coresPerNode / ranksPerNode) }
    /// Ranks that share one core; 1 where there are enough.
    package var ranksPerCore: Double { max(1, Double(ranksPerNode) / Double(coresPerNode)) }
    /// Bytes per second for one rank while all others send too.
    package var bandwidthPerRank: Double { nodes == 1 ? bandwidth : bandwidth / Double(ranksPerNode) }

    package init(
        nodes: Int, ranksPerNode: Int, coresPerNode: Int, memoryPerNode: Int, bandwidth: Double, latency: Double, productFlops: Double
    ) {
        self.nodes = nodes
        self.ranksPerNode = ranksPerNode
        self.coresPerNode = coresPerNode
        self.memoryPerNode = memoryPerNode
        self.bandwidth = bandwidth
        self.latency = latency
        self.productFlops = productFlops
    }

    /// As configured; what is left open is what this machine has.
    package init(_ settings: PlanSettings) {
        let cores = settings.coresPerNode ?? MPIEnvironment.availableCores
        let isAlone = settings.nodes == 1
        self.init(
            nodes: settings.nodes, ranksPerNode: settings.ranksPerNode ?? cores, coresPerNode: cores,
            memoryPerNode: settings.memoryPerNode?.bytes ?? AvailableMemory.bytes, bandwidth: settings.bandwidth ?? (isAlone ? 4e9 : 1.25e9),
            latency: settings.latency ?? (isAlone ? 2e-6 : 3e-5), productFlops: settings.productFlops ?? Self.measuredFlops())
    }

    private static func measuredFlops() -> Double {
        let threads = BLAS.threads
        BLAS.threads = 1
        defer { BLAS.threads = threads }
        return measureProductPeak()
    }
}
