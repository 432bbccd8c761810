package import Collectives
internal import Models

/// Chooses replicas, stages and micro-batches for a run, and refuses a run that the ranks' memory cannot hold.
///
/// The choice depends on shapes and memory alone, never on measured speed, so that a run started again is divided again the
/// same way.
package struct LayoutChooser: Sendable {
    private let workload: Workload
    private let ranks: Int
    /// Bytes.
    private let memoryPerRank: Int

    package init(_ workload: Workload, ranks: Int, memoryPerRank: Int) {
        self.workload = workload
        self.ranks = ranks
        self.memoryPerRank = memoryPerRank
    }

    /// For the ranks of a job: memory is what each machine has available, or `plan.memory_per_node`, divided among its ranks; the
    /// least counts. Collective.
    package init(_ workload: Workload, over world: some Communicator) throws(MPIError) {
        let node = workload.config.plan.memoryPerNode?.bytes ?? AvailableMemory.bytes
        let share = Int64(node / (try world.ranksOnNode()))
        self.init(workload, ranks: world.size, memoryPerRank: Int(try world.allReduce(share, .min)))
    }

    /// As few stages as fit, and as leave no replica without a sequence where that can be; replicas otherwise.
    ///
    /// - Throws: ``ConfigurationError`` where `parallel.*` leaves no layout, or none that fits; it names the smallest that would.
    package func choose() throws(ConfigurationError) -> Layout {
        let open = try stageCounts()
        let fitting = open.map(layout).filter { memory($0) <= memoryPerRank }
        guard let first = fitting.first else { throw tooLarge(open.map(layout)) }
        return fitting.first { $0.data <= workload.sequences } ?? first
    }

    /// Every number of stages that the ranks and `parallel.*` allow, ascending.
    private func stageCounts() throws(ConfigurationError) -> [Int] {
        let (data, pipeline) = (workload.config.parallel.data, workload.config.parallel.pipeline)
        let divisors = (1...ranks).filter { stages in
            ranks % stages == 0 && stages == pipeline ?? stages && ranks / stages == data ?? ranks / stages
        }
        guard !divisors.isEmpty else {
            let product = (data ?? 1) * (pipeline ?? 1)
            throw ConfigurationError(
                "parallel", "data \(data ?? 1) × pipeline \(pipeline ?? 1) is \(product), but there are \(ranks) ranks; "
                    + "set one of them to auto, or start as many ranks")
        }
        let counts = divisors.filter { $0 <= workload.shape.layers }
        guard !counts.isEmpty else {
            throw ConfigurationError(
                "parallel.pipeline", "\(divisors[0]) stages are more than the \(workload.shape.layers) layers of this model; a stage needs one at least")
        }
        return counts
    }

    private func layout(_ stages: Int) -> Layout {
        let data = ranks / stages
        return Layout(data: data, pipeline: stages, microbatches: microbatches(data: data, stages: stages))
    }

    /// As the run itself divides a replica's sequences: about 512 tokens each, and as many as there are stages.
    private func microbatches(data: Int, stages: Int) -> Int {
        let share = (workload.sequences + data - 1) / data
        let automatic = max((share + workload.config.microBatch - 1) / workload.config.microBatch, stages)
        return min(share, workload.config.parallel.microbatches ?? automatic)
    }

    private func memory(_ layout: Layout) -> Int { MemoryPlan(workload, layout).bytes.max() ?? 0 }

    private func tooLarge(_ layouts: [Layout]) -> ConfigurationError {
        let least = layouts.map(memory).min() ?? 0
        return ConfigurationError(
            "parallel", "the run needs about \(ByteCount(least).rounded) a rank and each of the \(ranks) ranks can have "
                + "\(ByteCount(memoryPerRank).rounded); " + advice)
    }

    /// The fewest ranks, as stages of one replica with micro-batches of one sequence, that the memory of a rank would do for.
    private var advice: String {
        for stages in 1...workload.shape.layers {
            let layout = Layout(data: 1, pipeline: stages, microbatches: workload.sequences)
            guard memory(layout) <= memoryPerRank else { continue }
            return "the smallest layout that fits is \(stages) ranks with parallel.pipeline=\(stages) and "
                + "parallel.microbatches=\(workload.sequences), with as much memory each"
        }
        let deepest = Layout(data: 1, pipeline: workload.shape.layers, microbatches: workload.sequences)
        return "even a stage for each layer needs \(ByteCount(memory(deepest)).rounded); give each rank more memory (fewer ranks a machine)"
    }
}
