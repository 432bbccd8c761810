internal import Collectives
internal import LinearAlgebra
internal import Runs
internal import TensorCore

extension MeasuredRanks {
    /// Gathers the ranks' measurements. Collective.
    ///
    /// - Parameters: the operations per second of this rank's products, of the job's precision and in float32.
    init(productFlops: Double, floatProductFlops: Double, over world: some Communicator) throws {
        func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }
        self.init(
            peakMemoryBytes: try world.allGather(Int64(Self.ownPeakMemoryBytes)).map { Int($0) },
            productFlops: mean(try world.allGather(productFlops)),
            floatProductFlops: mean(try world.allGather(floatProductFlops)),
            openBLASCore: OpenBLAS.core, kernels: KernelSet.chosen,
            coreShare: mean(try world.allGather(min(1, world.coreShare() / Double(Team.threads)))))
    }
}
