/// Where the time of a stage's passes went, in seconds.
package struct PipelineTiming: Sendable, Equatable {
    package var total = 0.0
    /// Of `total`, what was spent waiting for messages.
    package var waiting = 0.0
    /// Of `total`, what `PassesAside` took.
    package var aside = 0.0
    /// Of `total`, what products took that backward passes put off.
    package var weightGradients = 0.0

    package init() {}

    /// Adds the times of further passes.
    package static func += (timing: inout PipelineTiming, other: PipelineTiming) {
        timing.total += other.total
        timing.waiting += other.waiting
        timing.aside += other.aside
        timing.weightGradients += other.weightGradients
    }

    package init(total: Double, waiting: Double, aside: Double = 0, weightGradients: Double = 0) {
        (self.total, self.waiting, self.aside, self.weightGradients) = (total, waiting, aside, weightGradients)
    }

    /// What a stage computed, in the time of the whole step.
    private var work: StageSeconds {
        StageSeconds(
            inOrder: max(0, total - waiting - aside - weightGradients), weightGradients: weightGradients, aside: aside)
    }

    /// Fractions of the stages' time, over all ranks.
    package struct Waiting: Sendable, Equatable {
        /// In which they waited.
        package var measured = 0.0
        /// In which they would have waited with free messages: the first micro-batch passes all stages, the slowest one sets
        /// the pace of the others, and passes aside and weights' gradients that are put off take the place of waiting.
        package var least = 0.0

        /// The time of passes that wait no more than they must, over what they took.
        package var efficiency: Double { (1 - measured) / (1 - least) }
    }

    /// - Parameters:
    ///   - timings: of all ranks, the stages of a replica one after the other.
    ///   - microbatches: of a step, of one replica.
    package static func waiting(_ timings: [PipelineTiming], stages: Int, microbatches: Int) -> Waiting {
        let total = timings.reduce(0) { $0 + $1.total }
        let work = timings.reduce(0) { $0 + $1.work.total }
        let least = stride(from: 0, to: timings.count, by: stages).reduce(0.0) { sum, first in
            let replica = timings[first..<first + stages].map(\.work)
            return sum + Double(stages) * PipelineSchedule.seconds(replica, microbatches: microbatches)
        }
        return Waiting(measured: total > 0 ? 1 - work / total : 0, least: least > 0 ? 1 - work / least : 0)
    }
}
