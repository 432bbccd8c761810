internal import Configuration
internal import Models
internal import Parallelism
internal import Rotation

/// Bytes a rank of each stage needs under a layout.
struct MemoryPlan {
    let bytes: [Int]

    init(_ workload: Workload, _ layout: Layout) {
        let share = (workload.sequences + layout.data - 1) / layout.data
        let microbatch = (share + layout.microbatches - 1) / layout.microbatches
        let schedule = workload.config.parallel.schedule
        let sides = workload.rotationPlan(replicas: layout.data).sides
        bytes = workload.parts(layout).enumerated().map { stage, part in
            let alive = schedule.alive(stage: stage, stages: layout.pipeline, microbatches: layout.microbatches)
            let deferred = schedule.deferred(stage: stage, stages: layout.pipeline, microbatches: layout.microbatches)
            // The last stage's, of the next step.
            let isAhead = workload.hasTeacher && layout.pipeline > 1 && part.isLast
            return StageMemory(workload, part).bytes(
                sequences: microbatch, alive: alive, deferred: deferred, ahead: isAhead ? layout.microbatches : 0, sides: sides,
                replicas: layout.data, stages: layout.pipeline)
        }
    }
}

extension Workload {
    /// Number of values of a stage's parameters, each counted once. A tied head counts as a copy where the embedding is on
    /// another stage.
    func parameters(_ part: StagePart) -> Double {
        func count(_ specs: [ParameterSpec]) -> Double { specs.reduce(0) { $0 + Double($1.count) } }
        let blocks = part.blocks.reduce(0) { $0 + count(shape.blocks[$1].parameters) }
        let exit = shape.exit.filter { !(part.isFirst && shape.tiesHead && $0.role == .head) }
        return blocks + (part.isFirst ? count(shape.entry) : 0) + (part.isLast ? count(exit) : 0)
    }
}
