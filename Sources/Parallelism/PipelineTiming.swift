/// Where the time of a stage's passes went, in seconds.
package struct PipelineTiming: Sendable, Equatable {
    package var total = 0.0
    /// Of `total`, what was spent waiting for messages.
    package var waiting = 0.0
    /// Of `total`, what `PassesAside` took.
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

    /// What was computed in the step's order.
    private var inOrder: Double { max(0, total - waiting - aside) }

    /// Fractions of the stages' time, over all ranks.
    package struct Waiting: Sendable, Equatable {
        /// In which they waited.
        package var measured = 0.0
        /// In which they would have waited with free messages: the first micro-batch passes all stages, the slowest one sets
        /// the pace of the others, and passes aside take the place of waiting.
        package var least = 0.0

        /// The time of passes that wait no more than they must, over what they took.
        package var efficiency: Double { (1 - measured) / (1 - least) }
    }

    /// - Parameters:
    ///   - timings: of all ranks, the stages of a replica one after the other.
    ///   - microbatches: of a step, of one replica.
    package static func waiting(_ timings: [PipelineTiming], stages: Int, microbatches: Int) -> Waiting {
        let total = timings.reduce(0) { $0 + $1.total }
        let work = timings.reduce(0) { $0 + $1.inOrder + $1.aside }
        let least = stride(from: 0, to: timings.count, by: stages).reduce(0.0) { sum, first in
            sum + Double(stages) * leastSeconds(timings[first..<first + stages], microbatches: microbatches)
        }
        return Waiting(measured: total > 0 ? 1 - work / total : 0, least: least > 0 ? 1 - work / least : 0)
    }

    /// No replica with stages that compute so long is faster: its busiest stage must do all of its work, and without what is
    /// made aside the pipeline fills and empties.
    private static func leastSeconds(_ replica: ArraySlice<PipelineTiming>, microbatches: Int) -> Double {
        let inOrder = replica.map(\.inOrder)
        let part = 1 / Double(max(1, microbatches))
        let filled = part * inOrder.reduce(0, +) + (1 - part) * (inOrder.max() ?? 0)
        return max(filled, replica.map { $0.inOrder + $0.aside }.max() ?? 0)
    }
}
