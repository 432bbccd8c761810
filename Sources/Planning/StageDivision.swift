package import Configuration
package import Models
package import Parallelism
internal import Synchronization

extension RunConfig {
    /// The blocks of each stage, in order.
    ///
    /// - Parameter job: a command's name; a job that cannot be planned is divided by the cost of its forward passes.
    /// - Throws: ``ConfigurationError`` where there are fewer blocks than stages.
    package func stages(
        _ job: String, _ dims: ParallelDims, _ architecture: Architecture
    ) throws(ConfigurationError) -> [Range<Int>] {
        guard dims.pipeline <= architecture.blocks.count else {
            throw ConfigurationError(
                "parallel.pipeline",
                "\(dims.pipeline) stages are more than the \(architecture.blocks.count) that the model's "
                    + "\(architecture.layerCount) layers can be cut into; lower it")
        }
        let workload = Workload(ModelJob(rawValue: job) ?? .eval, self, architecture)
        return workload.division(stages: dims.pipeline, replicas: dims.data)
    }
}

extension Workload {
    /// The stages as the run itself divides the blocks: the work of the busiest stage in a step is as small as possible.
    ///
    /// Work is counted in seconds of an assumed core, not of this machine's cores, so that a run is divided as before if it is
    /// started again on another machine.
    func division(stages: Int, replicas: Int) -> [Range<Int>] {
        let share = (sequences + replicas - 1) / replicas
        let (work, ternary) = (
            StageWork(self, sequences: share, replicas: replicas), TernaryWork(self).blocks(replicas: replicas)
        )
        let last = shape.blocks.count - 1
        func seconds(_ block: Int, isFirst: Bool = false, isLast: Bool = false) -> Double {
            let part = StagePart(blocks: block..<block + 1, isFirst: isFirst, isLast: isLast)
            // Decomposing every layer once takes so much longer than the passes of `ptq` that these can be neglected.
            if job == .ptq { return ternary[block].seconds(on: .assumedCore) }
            guard runsNetwork else { return work.withoutNetwork(part).seconds(on: .assumedCore) }
            return (work.forward(part) + work.backward(part) + ternary[block]).seconds(on: .assumedCore)
        }
        let blocks = shape.blocks.indices.map { seconds($0) }
        return StageBalance.divide(
            blocks: blocks, first: seconds(0, isFirst: true) - blocks[0], last: seconds(last, isLast: true) - blocks[last],
            stages: stages)
    }

    /// The same for a layout.
    func parts(_ layout: Layout) -> [StagePart] {
        divisions.blocks(stages: layout.pipeline, replicas: layout.data) {
            divided.division(stages: layout.pipeline, replicas: layout.data)
        }.map { StagePart($0, of: shape.blocks.count) }
    }
}

/// Blocks of the stages, by how many stages and replicas there are.
final class Divisions: Sendable {
    private struct Key: Hashable {
        let stages: Int, replicas: Int
    }
    private let known = Mutex<[Key: [Range<Int>]]>([:])

    func blocks(stages: Int, replicas: Int, _ divide: () -> [Range<Int>]) -> [Range<Int>] {
        let key = Key(stages: stages, replicas: replicas)
        if let blocks = known.withLock({ $0[key] }) { return blocks }
        let blocks = divide()
        known.withLock { $0[key] = blocks }
        return blocks
    }
}

extension Cluster {
    /// A core of an assumed machine with AVX-512, which doubles the speed of its products.
    static var assumedCore: Cluster {
        Cluster(
            nodes: 1, ranksPerNode: 1, coresPerNode: 1, memoryPerNode: 0, bandwidth: assumedBandwidth(nodes: 1),
            latency: assumedLatency(nodes: 1), productFlops: 2 * AssumedNode.productFlops)
    }
}
