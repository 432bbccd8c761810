package import Configuration
internal import Glibc

/// The learning rate by step: a linear rise over `warmup` steps, then constant, or a linear or cosine decay to 0.
package struct LearningRate: Sendable {
    private let peak: Double
    private let schedule: Schedule
    private let warmup: Int
    private let steps: Int

    /// - Parameter automatic: the rate to use where the settings leave it open.
    package init(_ settings: TrainingSettings, automatic: Double) {
        peak = settings.learningRate ?? automatic
        schedule = settings.schedule
        warmup = settings.warmupSteps
        steps = settings.steps
    }

    /// - Parameter step: counted from 0.
    package func rate(step: Int) -> Double {
        if step < warmup { return peak * Double(step + 1) / Double(warmup) }
        let progress = Double(step - warmup) / Double(max(1, steps - warmup))
        switch schedule {
        case .constant: return peak
        case .linear: return peak * (1 - progress)
        case .cosine: return peak * 0.5 * (1 + cos(Double.pi * progress))
        }
    }
}
