/// What a stage does next.
package enum PipelineAction: Sendable, Equatable {
    case forward(Int)
    case backward(Int)
}

/// The order in which a stage processes the micro-batches of a step. It is pure data: `PipelineExecutor` performs the actions
/// and waits for messages.
///
/// In every schedule both forward and backward passes come in the order of the micro-batches, on every stage. So gradients are
/// added in the same order whatever the schedule and the number of stages.
package enum PipelineSchedule: String, Sendable, CaseIterable {
    /// One forward, one backward: a stage runs ahead just far enough to keep the following stages busy, then alternates
    /// (Narayanan et al., arXiv 2104.04473, section 2.2). At most stages − stage micro-batches are alive.
    case oneForwardOneBackward = "1f1b"
    /// The same, but all stages except the last run one micro-batch further ahead and keep it alive. Then unequal times of
    /// passes, and the time of a message, do not stall a stage immediately.
    case slack = "1f1b-slack"
    /// All forward, then all backward (Huang et al., arXiv 1811.06965). All micro-batches are alive in between. Other
    /// schedules are tested against this one.
    case gpipe

    /// The passes of a stage in order, one forward and one backward for each micro-batch.
    package func actions(stage: Int, stages: Int, microbatches: Int) -> [PipelineAction] {
        precondition((0..<stages).contains(stage) && microbatches >= 0, "stage \(stage) of \(stages)")
        let ahead =
            switch self {
            case .oneForwardOneBackward: min(microbatches, stages - stage - 1)
            case .slack: min(microbatches, stages - stage - (stage == stages - 1 ? 1 : 0))
            case .gpipe: microbatches
            }
        var actions = (0..<ahead).map { PipelineAction.forward($0) }
        for index in 0..<microbatches - ahead { actions += [.forward(ahead + index), .backward(index)] }
        return actions + (microbatches - ahead..<microbatches).map { .backward($0) }
    }

    /// The most micro-batches that a stage keeps between their forward and backward passes.
    package func alive(stage: Int, stages: Int, microbatches: Int) -> Int {
        switch self {
        case .oneForwardOneBackward: min(microbatches, stages - stage)
        case .slack: min(microbatches, stages - stage + (stage == stages - 1 ? 0 : 1))
        case .gpipe: microbatches
        }
    }

    /// How many backward passes may have their weights' gradients put off on a stage: as many as it keeps fewer micro-batches
    /// alive than the first stage, so that no stage needs more memory for it than that one.
    package func deferred(stage: Int, stages: Int, microbatches: Int) -> Int {
        alive(stage: 0, stages: stages, microbatches: microbatches)
            - alive(stage: stage, stages: stages, microbatches: microbatches)
    }

    /// Only forward passes, for evaluation.
    package static func forwards(_ microbatches: Int) -> [PipelineAction] { (0..<microbatches).map { .forward($0) } }

    /// The fraction of a step that a stage waits if all passes take the same time and messages take none: (P − 1)/(M + P − 1),
    /// with P stages and M micro-batches.
    package static func idealBubble(stages: Int, microbatches: Int) -> Double {
        Double(stages - 1) / Double(max(1, microbatches + stages - 1))
    }
}
