import Models
import TensorCore
import Testing

@testable import Training

@Suite struct LayoutChooserTests {
    private func choose(
        _ job: PlannedJob = .rotate, ranks: Int, memory: Int, _ assignments: String...
    ) throws -> Layout {
        let config = try RunConfig(assignments: assignments + ["data.sequence_length=64"])
        return try LayoutChooser(Workload(job, config, PlanShapes.deep), ranks: ranks, memoryPerRank: memory).choose()
    }

    private func memory(_ layout: Layout) throws -> Int {
        let config = try RunConfig(assignments: ["data.sequence_length=64"])
        return MemoryPlan(Workload(.rotate, config, PlanShapes.deep), layout).bytes.max() ?? 0
    }

    @Test func `replicas where the model fits, stages where it does not`() throws {
        let (one, two) = (try memory(Layout(data: 8, pipeline: 1, microbatches: 1)), try memory(Layout(data: 4, pipeline: 2, microbatches: 2)))
        #expect(two < one)
        #expect(try choose(ranks: 8, memory: one) == Layout(data: 8, pipeline: 1, microbatches: 1))
        #expect(try choose(ranks: 8, memory: one - 1) == Layout(data: 4, pipeline: 2, microbatches: 2))
    }

    @Test func `no replica is without a sequence where stages can help`() throws {
        #expect(try choose(ranks: 8, memory: 1 << 40, "training.batch_size=4").data == 4)
        #expect(try choose(ranks: 7, memory: 1 << 40, "training.batch_size=2") == Layout(data: 1, pipeline: 7, microbatches: 2))
    }

    @Test func `micro-batches are those the run makes`() throws {
        // 8 windows of 64 tokens make 512 tokens; a pipeline wants one micro-batch for each stage.
        #expect(try choose(ranks: 1, memory: 1 << 40, "training.batch_size=32").microbatches == 4)
        #expect(try choose(ranks: 4, memory: 1 << 40, "parallel.pipeline=4").microbatches == 4)
        #expect(try choose(ranks: 1, memory: 1 << 40, "parallel.microbatches=3").microbatches == 3)
    }

    private func problem(_ ranks: Int, _ memory: Int, _ assignments: String...) throws -> String {
        let config = try RunConfig(assignments: assignments)
        do {
            _ = try LayoutChooser(Workload(.rotate, config, PlanShapes.deep), ranks: ranks, memoryPerRank: memory).choose()
            return "accepted"
        } catch {
            #expect(error.exitCode == .configuration)
            return error.description
        }
    }

    @Test func `a run that does not fit names the smallest layout that would`() throws {
        let text = try problem(2, 200 << 20)
        #expect(text.contains("each of the 2 ranks can have 200 MiB"))
        let stages = try #require((1...16).first { text.contains("the smallest layout that fits is \($0) ranks with parallel.pipeline=\($0) and parallel.microbatches=8") })
        #expect(try problem(stages, 200 << 20, "parallel.pipeline=\(stages)", "parallel.microbatches=8") == "accepted")
        #expect(try problem(stages - 1, 200 << 20, "parallel.pipeline=\(stages - 1)", "parallel.microbatches=8") != "accepted")
        #expect(try problem(2, 1 << 20).contains("even a stage for each layer needs"))
    }

    @Test func `a layout that cannot be is refused`() throws {
        #expect(try problem(6, 1 << 40, "parallel.data=2", "parallel.pipeline=2").contains("data 2 × pipeline 2 is 4, but there are 6 ranks"))
        #expect(try problem(32, 1 << 40, "parallel.pipeline=32").contains("32 stages are more than the 16 layers"))
    }
}
