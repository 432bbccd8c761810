import Models
import Support
import Testing

@testable import Configuration
@testable import Planning

@Suite struct LayoutChooserTests {
    private func choose(
        _ job: ModelJob = .rotate, ranks: Int, memory: Int, preferring stages: Int = 0, _ assignments: String...
    ) throws -> Layout? {
        let config = try RunConfig(assignments: assignments + ["data.sequence_length=64"])
        return try LayoutChooser(Workload(job, config, PlanShapes.deep), ranks: ranks, memoryPerRank: memory)
            .choose(preferring: stages)
    }

    private func memory(_ layout: Layout) throws -> Int {
        let config = try RunConfig(assignments: ["data.sequence_length=64"])
        return MemoryPlan(Workload(.rotate, config, PlanShapes.deep), layout).bytes.max() ?? .max
    }

    @Test func `replicas where the model fits, stages where it does not`() throws {
        let (one, two) = (
            try memory(Layout(data: 8, pipeline: 1, microbatches: 1)), try memory(Layout(data: 4, pipeline: 2, microbatches: 2))
        )
        #expect(two < one)
        #expect(try choose(ranks: 8, memory: one) == Layout(data: 8, pipeline: 1, microbatches: 1))
        #expect(try choose(ranks: 8, memory: one - 1) == Layout(data: 4, pipeline: 2, microbatches: 2))
    }

    @Test func `a run goes on as it was divided before, where that fits`() throws {
        let two = try memory(Layout(data: 4, pipeline: 2, microbatches: 2))
        #expect(try choose(ranks: 8, memory: 1 << 40, preferring: 2)?.pipeline == 2)
        #expect(try choose(ranks: 8, memory: two, preferring: 1)?.pipeline == 2)
        // What the user sets comes first, and what cannot be is nothing to prefer.
        #expect(try choose(ranks: 8, memory: 1 << 40, preferring: 2, "parallel.pipeline=4")?.pipeline == 4)
        #expect(try choose(ranks: 8, memory: 1 << 40, preferring: 3)?.pipeline == 1)
    }

    @Test func `micro-batches are those the run makes`() throws {
        // 8 windows of 64 tokens make 512 tokens; a pipeline wants one micro-batch for each stage.
        #expect(try choose(ranks: 1, memory: 1 << 40, "training.batch_size=32")?.microbatches == 4)
        #expect(try choose(ranks: 4, memory: 1 << 40, "parallel.pipeline=4")?.microbatches == 4)
        #expect(try choose(ranks: 1, memory: 1 << 40, "parallel.microbatches=3")?.microbatches == 3)
    }

    private func problem(_ ranks: Int, _ memory: Int, _ assignments: String...) throws -> String {
        let config = try RunConfig(assignments: assignments + ["data.sequence_length=64"])
        do {
            _ = try LayoutChooser(Workload(.rotate, config, PlanShapes.deep), ranks: ranks, memoryPerRank: memory).choose()
            return "accepted"
        } catch {
            #expect(error.exitCode == .configuration)
            return error.description
        }
    }

    @Test func `a run that does not fit names the smallest layout that would`() throws {
        let limit = try memory(Layout(data: 1, pipeline: 4, microbatches: 8))
        let text = try problem(2, limit)
        #expect(text.contains("each of the 2 ranks can have \(ByteCount(limit).rounded)"))
        #expect(text.contains("the smallest layout that fits is 4 ranks with parallel.pipeline=4 and parallel.microbatches=8"))
        #expect(try problem(4, limit, "parallel.pipeline=4", "parallel.microbatches=8") == "accepted")
        #expect(try problem(2, 1 << 20).contains("even 8 stages, the most there can be, need"))
    }

    @Test func `where no layout can be, there is nothing to choose`() throws {
        #expect(try choose(ranks: 6, memory: 1 << 40, "parallel.data=2", "parallel.pipeline=2") == nil)
        #expect(try choose(ranks: 64, memory: 1 << 40, "parallel.pipeline=64", "training.batch_size=64") == nil)
        // Eight sequences are too few for twelve stages.
        #expect(try choose(ranks: 12, memory: 1 << 40, "parallel.pipeline=12") == nil)
        #expect(try choose(ranks: 8, memory: 1 << 40, "parallel.pipeline=8", "parallel.microbatches=4") == nil)
    }
}
