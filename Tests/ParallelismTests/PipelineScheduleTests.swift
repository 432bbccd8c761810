import Parallelism
import Testing

@Suite struct PipelineScheduleTests {
    private static let layouts = [(1, 1), (1, 5), (2, 1), (2, 8), (4, 2), (4, 4), (4, 9), (8, 8), (8, 3)]

    @Test(arguments: PipelineSchedule.allCases, layouts)
    func `every micro-batch goes forward and then backward once, in order`(_ schedule: PipelineSchedule, _ layout: (Int, Int)) {
        let (stages, microbatches) = layout
        for stage in 0..<stages {
            let actions = schedule.actions(stage: stage, stages: stages, microbatches: microbatches)
            let forwards = actions.compactMap { if case .forward(let m) = $0 { m } else { nil } }
            let backwards = actions.compactMap { if case .backward(let m) = $0 { m } else { nil } }
            #expect(forwards == Array(0..<microbatches) && backwards == forwards)
            for m in 0..<microbatches {
                #expect((actions.firstIndex(of: .forward(m)) ?? .max) < (actions.firstIndex(of: .backward(m)) ?? .min))
            }
        }
    }

    @Test(arguments: layouts) func `no stage keeps more micro-batches alive than stages from it to the end`(
        _ layout: (Int, Int)
    ) {
        let (stages, microbatches) = layout
        for stage in 0..<stages {
            var (alive, most) = (0, 0)
            for action in PipelineSchedule.oneForwardOneBackward.actions(
                stage: stage, stages: stages, microbatches: microbatches)
            {
                if case .forward = action { alive += 1 } else { alive -= 1 }
                most = max(most, alive)
            }
            #expect(most <= stages - stage && alive == 0)
        }
    }

    /// Stages advance whenever what they wait for has been done; a schedule that no stage can go on with is a deadlock. With
    /// passes of one unit of time the last action ends when the ideal bubble says.
    @Test(arguments: PipelineSchedule.allCases, layouts)
    func `no schedule waits for itself, and the bubble is the ideal one`(_ schedule: PipelineSchedule, _ layout: (Int, Int)) {
        let (stages, microbatches) = layout
        var rest = (0..<stages).map { schedule.actions(stage: $0, stages: stages, microbatches: microbatches)[...] }
        var done: [Set<String>] = Array(repeating: [], count: stages)
        var rounds = 0
        while rest.contains(where: { !$0.isEmpty }) {
            let before = done
            for stage in 0..<stages {
                guard let action = rest[stage].first else { continue }
                let isReady =
                    switch action {
                    case .forward(let m): stage == 0 || before[stage - 1].contains("F\(m)")
                    case .backward(let m): stage == stages - 1 || before[stage + 1].contains("B\(m)")
                    }
                guard isReady else { continue }
                switch action {
                case .forward(let m): done[stage].insert("F\(m)")
                case .backward(let m): done[stage].insert("B\(m)")
                }
                rest[stage].removeFirst()
            }
            rounds += 1
            guard done != before else {
                Issue.record("\(schedule) hangs with \(stages) stages")
                return
            }
        }
        #expect(rounds == 2 * (microbatches + stages - 1))
        let bubble = Double(rounds - 2 * microbatches) / Double(rounds)
        #expect(abs(bubble - PipelineSchedule.idealBubble(stages: stages, microbatches: microbatches)) < 1e-12)
    }

    @Test func `micro-batches are contiguous, nearly equal and as many as asked for`() {
        #expect(MicroBatches.count(3).ranges(8) == [0..<3, 3..<6, 6..<8])
        #expect(MicroBatches.sequences(atMost: 3).ranges(8) == [0..<3, 3..<6, 6..<8])
        #expect(MicroBatches.sequences(atMost: 4, atLeastCount: 3).ranges(8) == [0..<3, 3..<6, 6..<8])
        #expect(MicroBatches.sequences(atMost: 4, atLeastCount: 3).ranges(2) == [0..<1, 1..<2])
        #expect(MicroBatches.count(3).ranges(0).isEmpty)
    }
}
