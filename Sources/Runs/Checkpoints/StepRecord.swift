package import Support

/// Losses and times of the steps.
package struct StepRecord: Equatable {
    package var firstLoss: Double
    package var lastLoss: Double
    /// All steps except the first of each attempt, which also fills the memory pool.
    package var timedSteps: Int
    package var timedSeconds: Double
    /// Bytes sent by this rank in this attempt, per step; nil where the attempt has taken no step.
    package var bytesSentPerStep: Int?
    package var secondsPerStep: Double { timedSeconds / Double(max(1, timedSteps)) }

    package init(firstLoss: Double = 0, lastLoss: Double = 0, timedSteps: Int = 0, timedSeconds: Double = 0) {
        (self.firstLoss, self.lastLoss, self.timedSteps, self.timedSeconds) = (firstLoss, lastLoss, timedSteps, timedSeconds)
    }

    /// The job's part of `summary.json`.
    package var loss: JSONValue { ["first": .double(firstLoss), "last": .double(lastLoss)] }
}
