package import Parallelism
package import TensorCore

/// How a network is trained.
package struct TrainerSettings: Sendable {
    package var rule: UpdateRule
    package var weightDecay: Float
    /// Largest norm of all gradients together; nil for no limit.
    package var clipNorm: Double?
    package var isSharded: Bool
    package var microBatches: MicroBatches
    package var schedule: PipelineSchedule
    package var recompute: Bool
    /// Precision of the products in the network's passes.
    package var precision: ProductPrecision
    /// Size of the buckets in which gradients are summed over replicas.
    package var bucketBytes: Int

    package init(
        rule: UpdateRule, weightDecay: Float, clipNorm: Double?, isSharded: Bool, microBatches: MicroBatches,
        schedule: PipelineSchedule = .oneForwardOneBackward, recompute: Bool,
        precision: ProductPrecision = .float32, bucketBytes: Int = BucketLayout.defaultBytes
    ) {
        self.rule = rule
        self.weightDecay = weightDecay
        self.clipNorm = clipNorm
        self.isSharded = isSharded
        self.microBatches = microBatches
        self.schedule = schedule
        self.recompute = recompute
        self.precision = precision
        self.bucketBytes = bucketBytes
    }
}
