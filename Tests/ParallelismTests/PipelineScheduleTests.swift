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

    @Test(arguments: PipelineSchedule.allCases, layouts)
    func `a stage keeps as many micro-batches alive as is planned for`(_ schedule: PipelineSchedule, _ layout: (Int, Int)) {
        let (stages, microbatches) = layout
        for stage in 0..<stages {
            var (alive, most) = (0, 0)
            for action in schedule.actions(stage: stage, stages: stages, microbatches: microbatches) {
                if case .forward = action { alive += 1 } else { alive -= 1 }
                most = max(most, alive)
            }
            #expect(most == schedule.alive(stage: stage, stages: stages, microbatches: microbatches) && alive == 0)
            let oneByOne = PipelineSchedule.oneForwardOneBackward.alive(
                stage: stage, stages: stages, microbatches: microbatches)
            #expect(oneByOne <= stages - stage)
        }
    }

    @Test(arguments: PipelineSchedule.allCases, layouts)
    func `no stage needs more memory than the first for what it puts off`(
        _ schedule: PipelineSchedule, _ layout: (Int, Int)
    ) {
        let (stages, microbatches) = layout
        func most(_ stage: Int) -> Int { schedule.alive(stage: stage, stages: stages, microbatches: microbatches) }
        for stage in 0..<stages {
            let deferred = schedule.deferred(stage: stage, stages: stages, microbatches: microbatches)
            #expect(deferred >= 0 && most(stage) + deferred == most(0))
        }
        #expect(PipelineSchedule.gpipe.deferred(stage: stages - 1, stages: stages, microbatches: microbatches) == 0)
        if microbatches >= stages {
            let last = PipelineSchedule.oneForwardOneBackward.deferred(
                stage: stages - 1, stages: stages, microbatches: microbatches)
            #expect(last == stages - 1)
        }
    }

    /// Four equal stages of three units a pass: forward, backward, and the gradients of weights.
    @Test func `weights' gradients shorten the bubble to a third`() {
        func seconds(weightGradients: Double) -> Double {
            let stage = StageSeconds(inOrder: 24 - weightGradients, weightGradients: weightGradients)
            return PipelineSchedule.seconds(Array(repeating: stage, count: 4), microbatches: 8)
        }
        #expect(seconds(weightGradients: 0) == 24 + 3 * 3)
        #expect(seconds(weightGradients: 8) == 24 + 3 * 1)
        // What one stage puts off fills no more than its own waiting.
        #expect(seconds(weightGradients: 20) == 24)
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

    /// Stages of 3 and 1 seconds a step in four micro-batches of ¾ and ¼: the first passes both, three more the slower.
    @Test func `the least waiting is that of these stages with free messages`() {
        let timings = [PipelineTiming(total: 4, waiting: 1), PipelineTiming(total: 4, waiting: 3)]
        let waiting = PipelineTiming.waiting(timings, stages: 2, microbatches: 4)
        #expect(abs(waiting.measured - 0.5) < 1e-12)
        let least = 1 - 4 / (2 * (1 + 3 * 0.75))
        #expect(abs(waiting.least - least) < 1e-12 && abs(waiting.efficiency - 3.25 / 4) < 1e-12)
        let equal = [PipelineTiming(total: 5, waiting: 1), PipelineTiming(total: 5, waiting: 1)]
        let ideal = PipelineTiming.waiting(equal + timings, stages: 2, microbatches: 4)
        #expect(abs(ideal.least - (1 - 12 / (2 * 5 + 2 * 3.25))) < 1e-12)
        #expect(abs(PipelineTiming.waiting(equal, stages: 2, microbatches: 4).efficiency - 1) < 1e-12)
        // Half a second of other passes takes the place of waiting; the slower stage, 3.5 s, then sets the time.
        let filled = [PipelineTiming(total: 4, waiting: 0.5, aside: 0.5), PipelineTiming(total: 4, waiting: 2.5, aside: 0.5)]
        let rest = PipelineTiming.waiting(filled, stages: 2, microbatches: 4)
        #expect(abs(rest.measured - 3.0 / 8) < 1e-12 && abs(rest.least - (1 - 5 / 7.0)) < 1e-12)
        // So does half a second of weights' gradients, which leaves less to be filled.
        let deferring = [1.0, 3].map { PipelineTiming(total: 4, waiting: $0, weightGradients: 0.5) }
        let shorter = PipelineTiming.waiting(deferring, stages: 2, microbatches: 4)
        #expect(abs(shorter.measured - 0.5) < 1e-12 && abs(shorter.least - (1 - 4 / (2 * 3.0))) < 1e-12)
        #expect(PipelineTiming.waiting([PipelineTiming()], stages: 1, microbatches: 0).efficiency == 1)
    }
}
