/// How the time of a stage's passes was spent, in seconds.
package struct PipelineTiming: Sendable, Equatable {
    package var total = 0.0
    /// The part of `total` that was spent waiting for messages.
    package var waiting = 0.0
    /// The part of `total` that `PassesAside` took.
    package var aside = 0.0

    package init() {}

    /// Adds the times of further passes.
    package static func += (timing: inout PipelineTiming, other: PipelineTiming) {
        timing.total += other.total
        timing.waiting += other.waiting
        timing.aside += other.aside
    }

    package init(total: Double, waiting: Double, aside: Double = 0) {
        (self.total, self.waiting, self.aside) = (total, waiting, aside)
    }

    /// Seconds of the passes in the schedule's order.
    private var inOrder: Double { max(0, total - waiting - aside) }

    /// Shares of the stages' time, over all ranks.
    package struct Waiting: Sendable, Equatable {
        /// The share in which they waited.
        package var measured = 0.0
        /// The share in which they would have waited if messages took no time: the first micro-batch passes through all stages,
        /// the slowest one sets the pace, and passes aside fill some of the waiting.
        package var least = 0.0

        /// The least possible time of the passes over the time that they took.
        package var efficiency: Double { (1 - measured) / (1 - least) }
    }

    /// - Parameters:
    /// - timings: one for each rank, with the stages of a replica one after the other.
    /// - microbatches: number of one replica's micro-batches in a step.
    package static func waiting(_ timings: [PipelineTiming], stages: Int, microbatches: Int) -> Waiting {
        let total = timings.reduce(0) { $0 + $1.total }
        let work = timings.reduce(0) { $0 + $1.inOrder + $1.aside }
        let least = stride(from: 0, to: timings.count, by: stages).reduce(0.0) { sum, first in
            sum + Double(stages) * leastSeconds(timings[first..<first + stages], microbatches: microbatches)
        }
        return Waiting(measured: total > 0 ? 1 - work / total : 0, least: least > 0 ? 1 - work / least : 0)
    }

    /// A lower bound on a replica's seconds, given how long its stages compute: the busiest stage must do all of its work, and
    /// the pipeline has to fill and drain, not counting passes aside.
    private static func leastSeconds(_ replica: ArraySlice<PipelineTiming>, microbatches: Int) -> Double {
        let inOrder = replica.map(\.inOrder)
        let part = 1 / Double(max(1, microbatches))
        let filled = part * inOrder.reduce(0, +) + (1 - part) * (inOrder.max() ?? 0)
        return max(filled, replica.map { $0.inOrder + $0.aside }.max() ?? 0)
    }
}
