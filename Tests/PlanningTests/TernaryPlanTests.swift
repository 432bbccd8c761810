import Models
import Testing

@testable import Configuration
@testable import Planning

/// What ternary layers, and passes of the calibration text, are planned to take.
@Suite struct TernaryPlanTests {
    private static let rates = 2.4e11

    private func planner(_ job: ModelJob, ranks: Int, _ settings: String...) throws -> Planner {
        let config = try RunConfig(assignments: settings)
        let cluster = Cluster(
            nodes: max(1, ranks / 16), ranksPerNode: min(16, ranks), coresPerNode: min(16, ranks), memoryPerNode: 64 << 30,
            bandwidth: 4e9, latency: 2e-6, productFlops: Self.rates)
        return Planner(Workload(job, config, PlanShapes.embedded), cluster)
    }

    private func whole(_ replicas: Int) -> Layout { Layout(data: replicas, pipeline: 1, microbatches: max(1, 8 / replicas)) }

    @Test func `layers that stay as they are cost nothing`() throws {
        let part = StagePart(0..<8, of: 8)
        let all = TernaryWork(try planner(.qat, ranks: 1).workload)
        let some = TernaryWork(try planner(.qat, ranks: 1, "ternary.layers=model.layers.1.mlp.*").workload)
        #expect(all.layers(part).count == 28 && some.layers(part).count == 3)
        #expect(some.publishedBytes(part) < all.publishedBytes(part) / 4)
        let seconds = try ["*", "model.layers.1.mlp.*"].map {
            try planner(.ptq, ranks: 1, "data.eval.windows=1", "ternary.layers=\($0)").plan(whole(1)).secondsPerStep
        }
        #expect(seconds[1] < seconds[0] / 3)
    }

    @Test func `scaling channels takes a pass of the calibration text, and its inputs in memory`() throws {
        func planned(_ sequences: Int, _ transform: String) throws -> PlannedLayout {
            try planner(
                .quantize, ranks: 1, "quantize.transform=\(transform)", "calibration.sequences=\(sequences)",
                "data.train.path=x",
                "data.eval.windows=1"
            ).plan(whole(1))
        }
        let (few, many) = (try planned(64, "smoothquant"), try planned(256, "smoothquant"))
        #expect(many.secondsPerStep > 1.5 * few.secondsPerStep && many.peakMemory > few.peakMemory)
        #expect(try planned(64, "hadamard").secondsPerStep == planned(256, "hadamard").secondsPerStep)
    }

    @Test func `layers divide among owners as they are dealt, and beyond the largest layer not at all`() throws {
        let part = StagePart(0..<8, of: 8)
        let work = TernaryWork(try planner(.qat, ranks: 1).workload)
        let cluster = try planner(.qat, ranks: 1).cluster
        let owner = [1, 2, 4, 28, 64].map { work.step(part, replicas: $0).own.seconds(on: cluster) }
        #expect(owner[1] < 0.55 * owner[0] && owner[2] < 0.3 * owner[0])
        #expect(owner[3] > owner[0] / 28 && owner[4] == owner[3])
        // What all replicas do with the transitions does not shrink.
        let alike = [1, 64].map { work.step(part, replicas: $0).alike }
        #expect(alike[0] == alike[1])
    }

    @Test func `transitions travel once to each rank, or to each node where ranks share a relay`() throws {
        let planner = try planner(.qat, ranks: 64, "training.batch_size=64")
        let bytes = TernaryWork(planner.workload).publishedBytes(StagePart(0..<8, of: 8))
        // 210252 in a run of 16 steps on two ranks.
        #expect(abs(bytes / 210_252 - 1) < 0.15)
        func seconds(_ topology: String) throws -> Double {
            let planner = try self.planner(.qat, ranks: 64, "training.batch_size=64", "bus.topology=\(topology)")
            let parts = planner.workload.parts(whole(64))
            return Traffic(planner.workload, whole(64), parts, microbatch: 1).busSeconds(on: planner.cluster)
        }
        #expect(try seconds("auto") == seconds("relay"))
        #expect(try seconds("relay") < seconds("direct"))
        let alone = Traffic(planner.workload, whole(1), planner.workload.parts(whole(1)), microbatch: 1)
        #expect(alone.busSeconds(on: planner.cluster) == 0)
    }
}
