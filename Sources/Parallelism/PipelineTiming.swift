/// How the time of a stage's passes was spent, in seconds.
package struct PipelineTiming: Sendable, Equatable {
    package var total = 0.0
    /// The part of `total` that was spent waiting for messages.
    package var waiting = 0.0
    /// The part of `total` that forward passes took.
    package var forward = 0.0
    /// The part of `total` that `PassesAside` took.
    package var aside = 0.0
    /// Of `total`, what products took that backward passes put off.
    package var weightGradients = 0.0

    package init(
        total: Double = 0, waiting: Double = 0, forward: Double = 0, aside: Double = 0, weightGradients: Double = 0
    ) {
        (self.total, self.waiting, self.forward) = (total, waiting, forward)
        (self.aside, self.weightGradients) = (aside, weightGradients)
    }

    /// From what ``seconds`` gave.
    package init(seconds: some Collection<Double>) {
        let seconds = Array(seconds)
        self.init(
            total: seconds[0], waiting: seconds[1], forward: seconds[2], aside: seconds[3], weightGradients: seconds[4])
    }

    /// All of them in one order.
    package var seconds: [Double] { [total, waiting, forward, aside, weightGradients] }

    /// Adds the times of further passes.
    package static func += (timing: inout PipelineTiming, other: PipelineTiming) {
        timing = PipelineTiming(seconds: zip(timing.seconds, other.seconds).map(+))
    }

    /// What was computed.
    private var work: Double { max(0, total - waiting) }
    /// What backward passes took, without what they put off.
    private var backward: Double { max(0, work - forward - aside - weightGradients) }

    /// Shares of the stages' time, over all ranks.
    package struct Waiting: Sendable, Equatable {
        /// The share in which they waited.
        package var measured = 0.0
        /// The share in which they must wait, in whatever order they make their passes and however fast messages are.
        package var least = 0.0

        /// The least possible time of the passes over the time that they took.
        package var efficiency: Double { (1 - measured) / (1 - least) }
    }

    /// - Parameters:
    ///   - timings: one for each rank, with the stages of a replica one after the other.
    ///   - microbatches: number of one replica's micro-batches in a step.
    package static func waiting(_ timings: [PipelineTiming], stages: Int, microbatches: Int) -> Waiting {
        let total = timings.reduce(0) { $0 + $1.total }
        let work = timings.reduce(0) { $0 + $1.work }
        let least = stride(from: 0, to: timings.count, by: stages).reduce(0.0) { sum, first in
            sum + Double(stages) * leastSeconds(timings[first..<first + stages], microbatches: microbatches)
        }
        return Waiting(measured: total > 0 ? 1 - work / total : 0, least: least > 0 ? 1 - work / least : 0)
    }

    /// A lower bound on a replica's seconds, given how long its stages compute, for any order of their passes.
    ///
    /// A stage begins when the first of M micro-batches has gone forward through the stages before it, which take f seconds a
    /// step for forward passes. When the last micro-batch has gone back through it, that one has yet to go back through the
    /// stages before it, which take b seconds a step for backward passes; meanwhile the stage can do what no other waits for:
    /// max over stages s of Σ_{j<s} f_j/M + max(work_s, f_s + b_s + Σ_{j<s} b_j/M).
    private static func leastSeconds(_ replica: ArraySlice<PipelineTiming>, microbatches: Int) -> Double {
        let part = 1 / Double(max(1, microbatches))
        var (before, after, least) = (0.0, 0.0, 0.0)
        for stage in replica {
            least = max(least, before + max(stage.work, stage.forward + stage.backward + after))
            before += part * stage.forward
            after += part * stage.backward
        }
        return least
    }
}
