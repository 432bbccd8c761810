/// Replicas × stages, and into how many micro-batches a replica divides its share of a step.
package struct Layout: Sendable, Hashable, CustomStringConvertible {
    package var data: Int
    package var pipeline: Int
    package var microbatches: Int

    package init(data: Int, pipeline: Int, microbatches: Int) {
        self.data = data
        self.pipeline = pipeline
        self.microbatches = microbatches
    }

    package var ranks: Int { data * pipeline }
    package var description: String { "\(data) × \(pipeline) × \(microbatches)" }
}

/// What a layout costs.
package struct PlannedLayout: Sendable {
    package let layout: Layout
    /// Layers of each stage. A layer whose two blocks are on two stages counts a half on each.
    package let layersPerStage: [Double]
    /// Memory of one rank of each stage, in bytes.
    package let memory: [Int]
    /// Seconds that each stage computes in a step: its micro-batches, and what it does once a step.
    package let busySeconds: [Double]
    package let operationsPerStep: Double
    /// Bytes sent in a step by the rank that sends most.
    package let bytesPerStep: Int
    /// Seconds of sums, exchanges and the bus in a step. What stages send to each other is in the passes' time.
    package let communicationSeconds: Double
    package let secondsPerStep: Double
    /// Share of the passes' time in which a stage waits for others; 0 without passes.
    package let bubbleFraction: Double
    package let fits: Bool
    /// Replicas without a part of the step: see `Workload.dividedParts`.
    package let idleReplicas: Int
    /// Whether a run takes this layout: it fits, and steps of the network have a sequence for every replica.
    package let runs: Bool

    package var peakMemory: Int { memory.max() ?? 0 }
}

extension PlannedLayout {
    /// Orders a list of layouts, the best first: those that run, by time, then those that do not, by memory. Of equal ones the
    /// one with fewer ranks, stages or micro-batches comes first.
    func isBetter(than other: PlannedLayout) -> Bool {
        if runs != other.runs { return runs }
        if !runs, fits != other.fits { return fits }
        func key(_ a: PlannedLayout) -> (Double, Int, Int, Int, Int) {
            (runs ? a.secondsPerStep : 0, a.peakMemory, a.layout.ranks, a.layout.pipeline, a.layout.microbatches)
        }
        return key(self) < key(other)
    }
}
