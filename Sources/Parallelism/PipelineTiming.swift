/// How the time of a stage's passes was spent, in seconds.
package struct PipelineTiming: Sendable, Equatable {
    package var total = 0.0
    /// The part of `total` that forward passes took.
    package var forward = 0.0
    /// The part of `total` that backward passes took, without what they put off.
    package var backward = 0.0
    /// The part of `total` that `PassesAside` took.
    package var aside = 0.0
    /// The part of `total` that products took that backward passes put off.
    package var weightGradients = 0.0

    package init(
        total: Double = 0, forward: Double = 0, backward: Double = 0, aside: Double = 0, weightGradients: Double = 0
    ) {
        (self.total, self.forward, self.backward) = (total, forward, backward)
        (self.aside, self.weightGradients) = (aside, weightGradients)
    }

    /// - Parameter seconds: as ``seconds`` lists them.
    package init(seconds: [Double]) {
        self.init(
            total: seconds[0], forward: seconds[1], backward: seconds[2], aside: seconds[3], weightGradients: seconds[4])
    }

    /// All of them in one order.
    package var seconds: [Double] { [total, forward, backward, aside, weightGradients] }

    /// Adds the times of further passes.
    package static func += (timing: inout PipelineTiming, other: PipelineTiming) {
        timing = PipelineTiming(seconds: zip(timing.seconds, other.seconds).map(+))
    }

    /// Seconds that were computed; the rest of `total` was spent on messages, nearly all of it waiting for them.
    private var work: Double { forward + backward + aside + weightGradients }

    /// Shares of the stages' time, over all ranks.
    package struct Waiting: Sendable, Equatable {
        /// The share in which they waited.
        package var measured = 0.0
        /// The share in which they must wait, however fast messages are.
        package var least = 0.0

        /// The least possible time of the passes over the time that they took.
        package var efficiency: Double { (1 - measured) / (1 - least) }
    }

    /// - Parameters:
    ///   - timings: one for each rank, with the stages of a replica one after the other.
    ///   - smallest: the share of a replica's sequences in the smallest micro-batch.
    package static func waiting(_ timings: [PipelineTiming], stages: Int, smallest: Double) -> Waiting {
        let total = timings.reduce(0) { $0 + $1.total }
        let work = timings.reduce(0) { $0 + $1.work }
        let least = stride(from: 0, to: timings.count, by: stages).reduce(0.0) { sum, first in
            sum + Double(stages) * leastSeconds(timings[first..<first + stages], smallest: smallest)
        }
        return Waiting(measured: total > 0 ? 1 - work / total : 0, least: least > 0 ? 1 - work / least : 0)
    }

    /// A lower bound on a replica's seconds, given how long its stages compute, for any order of their passes in which none
    /// aside comes first.
    ///
    /// A stage begins when the first micro-batch has gone forward through the stages before it. When the last one has gone back
    /// through it, that one has yet to go back through the stages before it; meanwhile the stage can do what no other waits
    /// for. With f_j and b_j seconds of forward and backward passes of stage j, and the smallest micro-batch's share σ:
    /// max over stages s of σ·Σ_{j<s} f_j + max(work_s, f_s + b_s + σ·Σ_{j<s} b_j).
    private static func leastSeconds(_ replica: ArraySlice<PipelineTiming>, smallest: Double) -> Double {
        var (before, after, least) = (0.0, 0.0, 0.0)
        for stage in replica {
            least = max(least, before + max(stage.work, stage.forward + stage.backward + after))
            before += smallest * stage.forward
            after += smallest * stage.backward
        }
        return least
    }
}
