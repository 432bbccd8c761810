package import Collectives
package import Configuration
internal import Models
internal import Parallelism
internal import Support

/// Chooses replicas, stages and micro-batches for a run, and refuses a run that the ranks' memory cannot hold.
///
/// The choice depends only on shapes and memory, never on measured speed. So a run that is started again on machines with as
/// much free memory is divided in the same way. A run that resumes from a checkpoint keeps its layout, if that fits.
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

    /// For the ranks of a job. Memory is what each machine has available, divided among its ranks; the smallest share counts.
    /// `plan.memory_per_node`, which describes another cluster, is not used. Collective.
    package init(_ workload: Workload, over world: some Communicator) throws(MPIError) {
        let share = AvailableMemory.bytes / (try world.ranksOnNode())
        // A limit of the process applies to each rank separately.
        let least = Int64(min(share, AvailableMemory.processRoom ?? .max))
        self.init(workload, ranks: world.size, memoryPerRank: Int(try world.allReduce(least, .min)))
    }

    /// The layout with the fewest stages that fit, and as many replicas as possible; nil where these ranks allow no layout,
    /// which ``RunConfig/layout(worldSize:)`` and the checks after it then explain.
    ///
    /// - Parameter stages: preferred if they fit, since a checkpoint resumes with the layout it was made with. 0: no
    ///   preference.
    /// - Throws: ``ConfigurationError`` where none fits; it names the smallest that would.
    package func choose(preferring stages: Int = 0) throws(ConfigurationError) -> Layout? {
        let layouts = workload.stageCounts(ranks: ranks).map(layout)
        guard !layouts.isEmpty else { return nil }
        let fitting = layouts.filter { memory($0) <= memoryPerRank }
        guard let fewest = fitting.first else { throw tooLarge(layouts) }
        return fitting.first { $0.pipeline == stages } ?? fewest
    }

    private func layout(_ stages: Int) -> Layout { workload.layout(data: ranks / stages, stages: stages) }

    private func memory(_ layout: Layout) -> Int { MemoryPlan(workload, layout).bytes.max() ?? 0 }

    private func tooLarge(_ layouts: [Layout]) -> ConfigurationError {
        let least = layouts.map(memory).min() ?? 0
        return ConfigurationError(
            "parallel",
            "the run needs about \(ByteCount(least).rounded) a rank and each of the \(ranks) ranks can have "
                + "\(ByteCount(memoryPerRank).rounded)\(cause); " + advice)
    }

    /// Why a rank cannot have more memory, where the machine has enough.
    private var cause: String {
        guard let room = AvailableMemory.processRoom, room <= memoryPerRank else { return "" }
        return " below its limit of addresses (ulimit -v or -d)"
    }

    /// Advice with the smallest number of ranks for which a rank's memory would suffice: stages of one replica with
    /// micro-batches of one sequence.
    private var advice: String {
        let blocks = workload.shape.blocks.count
        let most = workload.cutsSteps ? min(blocks, workload.sequences) : blocks
        for stages in 1...most {
            let layout = Layout(data: 1, pipeline: stages, microbatches: workload.sequences)
            guard memory(layout) <= memoryPerRank else { continue }
            let cut = workload.cutsSteps ? " and parallel.microbatches=\(workload.sequences)" : ""
            return "the smallest layout that fits is \(counted(stages, "rank")) with parallel.pipeline=\(stages)\(cut), "
                + "with as much memory each"
        }
        let deepest = memory(Layout(data: 1, pipeline: most, microbatches: workload.sequences))
        return
            "even \(most) stages, the most there can be, need \(ByteCount(deepest).rounded) each; give a rank more memory "
            + "(fewer ranks a machine)"
    }
}

extension Workload {
    /// The layout with micro-batches as a run itself divides them.
    package func layout(data: Int, stages: Int) -> Layout {
        Layout(data: data, pipeline: stages, microbatches: microbatches(data: data, stages: stages))
    }

    /// Into how many micro-batches a run itself divides a replica's sequences.
    func microbatches(data: Int, stages: Int) -> Int {
        let share = (sequences + data - 1) / data
        guard cutsSteps else { return learns ? 1 : max(1, share) }
        let batches = try? config.microBatches(ParallelDims(data: data, pipeline: stages))
        return max(1, batches?.ranges(share).count ?? share)
    }
}
