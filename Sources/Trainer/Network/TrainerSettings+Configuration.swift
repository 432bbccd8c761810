internal import Configuration
package import Parallelism

extension RunConfig {
    /// The update rule that `optimizer.*` describes.
    var updateRule: UpdateRule {
        switch training.optimizer {
        case .adamw:
            .adamW(beta1: Float(optimizer.beta1), beta2: Float(optimizer.beta2), epsilon: Float(optimizer.epsilon))
        case .sgd: .momentum(Float(optimizer.momentum))
        }
    }

    /// The settings of a trainer with these micro-batches.
    package func trainerSettings(_ microBatches: MicroBatches) -> TrainerSettings {
        TrainerSettings(
            rule: updateRule, weightDecay: Float(optimizer.weightDecay), clipNorm: optimizer.clipNorm,
            isSharded: optimizer.shard,
            microBatches: microBatches, schedule: parallel.schedule, recompute: training.recompute,
            precision: training.precision)
    }
}
