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
        // Micro-batches of which a stage holds activations at its fullest moment, also those whose products it has put off.
        func held(_ stage: Int, deferred: Int) -> Int {
            var (alive, putOff, most) = (0, 0, 0)
            for action in schedule.actions(stage: stage, stages: stages, microbatches: microbatches) {
                if case .forward = action { alive += 1 } else { (alive, putOff) = (alive - 1, min(putOff + 1, deferred)) }
                most = max(most, alive + putOff)
            }
            return most
        }
        for stage in 0..<stages {
            let deferred = schedule.deferred(stage: stage, stages: stages, microbatches: microbatches)
            #expect(deferred >= 0 && held(stage, deferred: deferred) <= held(0, deferred: 0))
            // No more could be put off, where there are micro-batches enough.
            let more = held(stage, deferred: deferred + 1)
            #expect(microbatches < 2 * stages || more > held(0, deferred: 0) || schedule == .gpipe)
        }
        #expect(PipelineSchedule.gpipe.deferred(stage: stages - 1, stages: stages, microbatches: microbatches) == 0)
        if microbatches >= stages {
            let last = PipelineSchedule.oneForwardOneBackward.deferred(
                stage: stages - 1, stages: stages, microbatches: microbatches)
            #expect(last == stages - 1)
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

    private func waiting(_ timings: PipelineTiming...) -> PipelineTiming.Waiting {
        PipelineTiming.waiting(timings, stages: 2, smallest: 1 / 4)
    }

    @Test func `equal stages must wait as the formula says`() {
        let stage = PipelineTiming(total: 5, forward: 1.5, backward: 2.5)
        let equal = waiting(stage, stage)
        #expect(abs(equal.measured - 0.2) < 1e-12 && abs(equal.least - 1 / 5.0) < 1e-12 && abs(equal.efficiency - 1) < 1e-12)
        #expect(PipelineTiming.waiting([PipelineTiming()], stages: 1, smallest: 0).efficiency == 1)
    }

    /// Of four micro-batches; a stage of 3 seconds before or behind one of 1.
    @Test func `a slow stage waits for the passes of the stages before it`() {
        let slow = PipelineTiming(total: 4, forward: 1, backward: 2)
        let quick = PipelineTiming(total: 4, forward: 0.4, backward: 0.6)
        let (last, first) = (waiting(quick, slow), waiting(slow, quick))
        #expect(abs(last.measured - 0.5) < 1e-12)
        #expect(abs(last.least - (1 - 4 / (2 * 3.25))) < 1e-12 && abs(last.efficiency - 3.25 / 4) < 1e-12)
        // The first stage can make other passes while the last micro-batch is with the second one.
        #expect(abs(first.least - (1 - 4 / (2 * 3.0))) < 1e-12)
        let both = PipelineTiming.waiting([quick, slow, slow, quick], stages: 2, smallest: 1 / 4)
        #expect(abs(both.least - (1 - 8 / (2 * 3.25 + 2 * 3))) < 1e-12)
    }

    /// The 2 s of backward passes take ½ s of a micro-batch to go back through the first stage; this the second stage can fill.
    @Test(arguments: [
        PipelineTiming(total: 5, forward: 1, backward: 2, aside: 1),
        PipelineTiming(total: 5, forward: 1, backward: 2, weightGradients: 1),
    ])
    func `what no other stage waits for takes the place of waiting`(_ stage: PipelineTiming) {
        // ¼ s until a micro-batch is here; then 4 s of work, of which 1 is done in the last ½ s and before.
        let filled = waiting(stage, stage)
        #expect(abs(filled.least - (1 - 4 / 4.25)) < 1e-12)
    }
}
