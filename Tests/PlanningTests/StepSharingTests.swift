import Configuration
import Models
import Parallelism
import Testing

@testable import Planning

@Suite struct StepSharingTests {
    private static let shape = LlamaConfiguration(
        family: .llama, vocabularySize: 8192, hiddenSize: 1024, intermediateSize: 3072, layers: 4, heads: 16,
        keyValueHeads: 8, headDimension: 64, maximumPositions: 512, normEpsilon: 1e-5, rotary: RotaryScaling(base: 10_000),
        tiedEmbeddings: false, inputBias: false, outputBias: false, feedForwardBias: false
    ).architecture

    private func planner(
        _ job: ModelJob = .rotate, nodes: Int = 1, ranks: Int, bandwidth: Double = 4e9, _ settings: [String] = []
    ) throws -> Planner {
        let config = try RunConfig(
            assignments: ["training.batch_size=16", "data.sequence_length=256"] + settings)
        return Planner(
            Workload(job, config, Self.shape),
            Cluster(
                nodes: nodes, ranksPerNode: ranks / nodes, coresPerNode: ranks / nodes, memoryPerNode: 1 << 40,
                bandwidth: bandwidth, latency: 2e-6, productFlops: 1e11))
    }

    private func sharing(_ planner: Planner, _ layout: Layout) -> StepSharing {
        StepSharing(planner.workload, layout, on: planner.cluster)
    }

    /// The goal for 16 ranks; 4 replicas rotate weights, 16 would rather rotate activations.
    @Test(arguments: [1, 2, 4, 16]) func `little of a rotation step is done more than once`(_ ranks: Int) throws {
        let planner = try planner(ranks: ranks)
        let layout = Layout(data: ranks, pipeline: 1, microbatches: 1)
        let share = planner.replicatedShare(layout)
        #expect(ranks == 1 ? share == 0 : share > 0 && share <= 0.03, "\(share)")
        #expect(sharing(planner, layout).dividesUpdate == (ranks > 1))
        let stages = planner.replicatedShare(Layout(data: 1, pipeline: min(4, ranks), microbatches: 16))
        #expect(ranks == 1 ? stages == 0 : stages > 0 && stages <= 0.03, "\(stages)")
    }

    @Test func `ranks divide no work that is done sooner than its results are exchanged`() throws {
        let layout = Layout(data: 16, pipeline: 1, microbatches: 1)
        let slow = try planner(ranks: 16, bandwidth: 1e7)
        #expect(!sharing(slow, layout).dividesUpdate && !sharing(slow, layout).dividesWeights)
        #expect(slow.replicatedShare(layout) > 0.03)
        let iterative = try planner(ranks: 16, ["rotation.retraction=iterative"])
        #expect(!sharing(iterative, layout).dividesUpdate && iterative.replicatedShare(layout) > 0.03)
        #expect(!sharing(try planner(.train, ranks: 16), layout).dividesUpdate)
    }

    @Test func `what quantize learns is divided where its steps take longer than the exchange`() throws {
        let layout = Layout(data: 16, pipeline: 1, microbatches: 1)
        let settings = ["rotation.objective=ce", "quantize.transform=learned"]
        func learned(_ planner: Planner) -> StepSharing {
            StepSharing(Workload(.inQuantize, planner.workload.config, Self.shape), layout, on: planner.cluster)
        }
        let fast = try planner(.quantize, ranks: 16, settings)
        #expect(learned(fast).dividesUpdate && !learned(fast).dividesWeights)
        #expect(!learned(try planner(.quantize, ranks: 16, bandwidth: 1e7, settings)).dividesUpdate)
        #expect(!learned(try planner(.quantize, ranks: 16, settings + ["rotation.retraction=iterative"])).dividesUpdate)
        // As it is planned.
        let planned = try #require(fast.workload.learning)
        #expect(StepSharing(planned, layout, on: fast.cluster) == learned(fast))
    }

    @Test func `rounding weights with a search is divided, and a sharded optimizer's work is not repeated`() throws {
        let layout = Layout(data: 4, pipeline: 1, microbatches: 4)
        let rounding = try planner(ranks: 4, ["rotation.train_weight_bits=4"])
        #expect(sharing(rounding, layout).dividesWeights && rounding.replicatedShare(layout) <= 0.03)
        let (whole, sharded) = (
            try planner(.train, ranks: 4).replicatedShare(layout),
            try planner(.train, ranks: 4, ["optimizer.shard=true"]).replicatedShare(layout)
        )
        #expect(sharded < whole / 3 && whole < 0.03)
    }
}
