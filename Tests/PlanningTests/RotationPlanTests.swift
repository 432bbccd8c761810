import Models
import Testing

@testable import Configuration
@testable import Planning

/// What rotations learned without the network are planned to take, and what comes before their first step.
@Suite struct RotationPlanTests {
    private func cluster(_ ranks: Int) -> Cluster {
        Cluster(
            nodes: 1, ranksPerNode: ranks, coresPerNode: ranks, memoryPerNode: 1 << 40, bandwidth: 4e9, latency: 2e-6,
            productFlops: 2.4e11)
    }

    private func seconds(_ layout: Layout, _ settings: [String]) throws -> Double {
        let config = try RunConfig(assignments: ["data.train.path=x", "data.eval.path=x", "data.eval.windows=1"] + settings)
        let workload = Workload(.rotate, config, PlanShapes.deep)
        return JobTime(workload).seconds(
            Planner(workload, cluster(layout.ranks)).plan(layout), on: cluster(layout.ranks))
    }

    private let alone = Layout(data: 1, pipeline: 1, microbatches: 1)
    private let stages = Layout(data: 1, pipeline: 4, microbatches: 1)

    /// Of a step on the same rows the products turn them, and as many multiply them by a gradient.
    @Test func `a start to choose from takes half of a step's products`() throws {
        func starts(_ settings: String...) throws -> Double {
            let range = ["rotation.objective=range", "training.steps=1"] + settings
            return try seconds(alone, range + ["rotation.starts=101"]) - seconds(alone, range + ["rotation.starts=1"])
        }
        let config = try RunConfig(assignments: ["data.train.path=x", "rotation.objective=range"])
        let step = StageWork(Workload(.rotate, config, PlanShapes.deep), sequences: 1, replicas: 1)
            .withoutNetwork(StagePart(0..<32, of: 32))
        let expected = Work(products: step.products / 2, values: 2.5 / 4 * step.values).seconds(on: cluster(1))
        #expect(abs(try starts() / (101 * expected) - 1) < 1e-6)
        // They are turned, whether they are to be learned or not.
        #expect(abs(try starts("rotation.r1=hadamard") / starts() - 1) < 1e-6)
        #expect(try starts("rotation.r1=none") < 0.5 * starts())
    }

    @Test func `stages choose the start, and store activations, at the same time; balancing is done in turn`() throws {
        func before(_ layout: Layout, _ settings: String...) throws -> Double {
            let range = ["rotation.objective=range", "calibration.sequences=256"]
            return try seconds(layout, range + settings) - seconds(layout, range)
        }
        let choosing = try before(stages, "rotation.starts=1001") / before(alone, "rotation.starts=1001")
        #expect(abs(choosing - 0.25) < 0.01, "\(choosing)")
        let balancing = try before(stages, "rotation.balance=true") / before(alone, "rotation.balance=true")
        #expect(abs(balancing - 1) < 0.02, "\(balancing)")
        // Of one step, and of more sequences than this takes time for.
        let storing = ["training.steps=1", "rotation.objective=range", "rotation.sequences=2048"]
        #expect(try seconds(stages, storing) < 0.3 * seconds(alone, storing))
    }

    /// The blocks of two layers, attention and the rest three times as large, of two replicas in the order of the model: the
    /// first has both of attention and one of the others, 5 of 8.
    @Test func `steps on the weights take as long as the replica does that is dealt most`() throws {
        let config = try RunConfig(assignments: ["rotation.objective=weights", "rotation.r2=hadamard"])
        let workload = Workload(.rotate, config, PlanShapes.embedded)
        #expect(PlanShapes.embedded.weightOwners(replicas: 2).prefix(4) == [0, 1, 0, 0])
        func products(_ replicas: Int, _ blocks: Range<Int>) -> Double {
            StageWork(workload, sequences: 1, replicas: replicas).withoutNetwork(StagePart(blocks, of: 8)).products
        }
        #expect(products(2, 0..<4) == 0.625 * products(1, 0..<4))
        #expect(products(2, 2..<4) == products(1, 2..<4))
        #expect(products(16, 0..<8) == products(1, 1..<2))
        // Blocks are dealt to no more replicas than there are blocks.
        #expect(products(1 << 40, 0..<8) == products(16, 0..<8))
    }

    @Test(arguments: ["range", "weights"]) func `steps without the network have no micro-batches to be too few`(
        _ objective: String
    ) throws {
        let config = try RunConfig(assignments: ["rotation.objective=\(objective)", "parallel.microbatches=1"])
        let workload = Workload(.rotate, config, PlanShapes.deep)
        #expect(workload.stageCounts(ranks: 32) == [1, 2, 4, 8, 16, 32])
        #expect(workload.layout(data: 1, stages: 32).microbatches == 1)
        let planned = Planner(workload, cluster(32)).layouts()
        #expect(planned.count == 6 && planned.allSatisfy { $0.runs && $0.idleReplicas == 0 && $0.bubbleFraction == 0 })
        let network = Workload(.rotate, try RunConfig(assignments: ["parallel.microbatches=1"]), PlanShapes.deep)
        #expect(network.stageCounts(ranks: 32) == [1])
    }

    /// Stages are divided by the work of the job's steps, where a large head may count for nothing.
    @Test(
        arguments: [
            (.rotate, ["rotation.objective=weights"]), (.rotate, ["rotation.pretrain_steps=5"]),
            (.quantize, ["quantize.transform=learned"]), (.train, []),
        ] as [(ModelJob, [String])])
    func `what a job does besides its steps runs on the stages of these`(_ job: ModelJob, _ settings: [String]) throws {
        let layout = Layout(data: 1, pipeline: 3, microbatches: 8)
        let workload = Workload(job, try RunConfig(assignments: settings), PlanShapes.smolLM2)
        let time = JobTime(workload)
        #expect(time.evaluation.parts(layout) == workload.parts(layout))
        let learning = workload.learning
        #expect((learning == nil) == (job == .train || settings[0].hasSuffix("weights")))
        #expect(learning?.parts(layout) ?? workload.parts(layout) == workload.parts(layout))
    }

    @Test func `an evaluation waits for the head of stages that are equal without it`() throws {
        let config = try RunConfig(assignments: ["rotation.objective=weights"])
        let workload = Workload(.rotate, config, PlanShapes.smolLM2)
        let layout = Layout(data: 1, pipeline: 2, microbatches: 8)
        let (evaluation, alone) = (JobTime(workload).evaluation, Workload(.eval, config, PlanShapes.smolLM2))
        #expect(evaluation.parts(layout)[1].blocks.count == 30 && alone.parts(layout)[1].blocks.count < 28)
        let cluster = cluster(2)
        #expect(Planner(evaluation, cluster).seconds(layout) > 1.1 * Planner(alone, cluster).seconds(layout))
    }

    @Test func `rotations that are fixed take no steps`() throws {
        func steps(_ settings: [String]) throws -> Int {
            Workload(.rotate, try RunConfig(assignments: settings), PlanShapes.embedded).steps
        }
        #expect(try steps([]) == 100 && steps(["rotation.r1=hadamard"]) == 100)
        #expect(try steps(["rotation.r1=hadamard", "rotation.r2=none"]) == 0)
    }

    @Test func `quantize learns what there is of R1 and R2, and chooses no start`() throws {
        func learning(_ settings: String...) throws -> Workload? {
            Workload(
                .quantize, try RunConfig(assignments: ["quantize.transform=learned"] + settings), PlanShapes.embedded
            ).learning
        }
        let plain = try #require(try learning("rotation.r1=none"))
        #expect(!plain.learnsR1 && plain.learnsR2)
        let fixed = try #require(try learning("rotation.r2=hadamard"))
        #expect(fixed.learnsR1 && !fixed.learnsR2)
        let given = try #require(try learning("rotation.starts=8", "rotation.pretrain_steps=9"))
        #expect(try given.storedSequences == learning()?.storedSequences && given.learning == nil)
        #expect(given.config.rotation.starts == 1 && given.learnsR1)
    }
}
