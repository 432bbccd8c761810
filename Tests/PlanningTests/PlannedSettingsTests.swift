import Models
import Rotation
import Support
import Testing

@testable import Configuration
@testable import Planning

/// What settings change of a plan, and numbers beyond what is usual.
@Suite struct PlannedSettingsTests {
    private func cluster(nodes: Int = 1, ranks: Int = 1, cores: Int = 1, bandwidth: Double = 1e10) -> Cluster {
        Cluster(
            nodes: nodes, ranksPerNode: ranks, coresPerNode: cores, memoryPerNode: 1 << 40, bandwidth: bandwidth,
            latency: 1e-6, productFlops: 1e11)
    }

    private func workload(
        _ job: ModelJob, _ settings: [String] = [], _ shape: Architecture = PlanShapes.embedded
    ) throws -> Workload { Workload(job, try RunConfig(assignments: settings), shape) }

    private func search(_ job: ModelJob, _ settings: [String]) throws -> (LayoutSearch, PlanReport) {
        let config = try RunConfig(assignments: settings + ["plan.gemm_flops=1e11", "plan.memory_per_node=1TiB"])
        let search = LayoutSearch(
            job, config, PlanShapes.embedded, Cluster(config.plan), ranksPerNode: config.plan.ranksPerNode)
        return (search, PlanReport(search, config, model: "/models/llama"))
    }

    /// Without line breaks.
    private func words(_ report: PlanReport) -> String {
        report.text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    }

    private let alone = Layout(data: 1, pipeline: 1, microbatches: 1)

    @Test func `threads that are set are those of a rank, and leave the other cores idle`() throws {
        let settings = ["plan.cores_per_node=8", "plan.ranks_per_node=2", "parallel.pipeline=1"]
        let (own, _) = try search(.train, settings)
        let (set, report) = try search(.train, settings + ["parallel.threads=1"])
        let (fast, slow) = try (#require(own.best), #require(set.best))
        #expect(fast.cluster.threadsPerRank == 4 && slow.cluster.threadsPerRank == 1)
        #expect(slow.planned.secondsPerStep > 3 * fast.planned.secondsPerStep)
        #expect(words(report).contains("6 of 8 cores are idle") && words(report).contains("OPENBLAS_NUM_THREADS=1 "))
        let (crowded, crowd) = try search(.train, settings + ["parallel.threads=8"])
        #expect(try #require(crowded.best).planned.secondsPerStep > 0.99 * fast.planned.secondsPerStep)
        #expect(words(crowd).contains("8 threads each (8 × 1/2.0 core)"))
    }

    @Test(arguments: [ModelJob.eval, .quantize, .ptq]) func `the command of a job without steps sets no micro-batches`(
        _ job: ModelJob
    ) throws {
        let (_, report) = try search(job, ["plan.cores_per_node=1", "quantization.weights.bits=4"])
        let command = try #require(report.json["command"]?.string)
        #expect(command.contains("--set parallel.pipeline=1") && !command.contains("parallel.microbatches"))
    }

    @Test func `more tokens than integers count need all memory there is, and no plan ends of it`() throws {
        let wide = PlanShapes.llama(
            hidden: 1 << 20, intermediate: 1 << 20, layers: 4, heads: 1 << 14, keyValueHeads: 1 << 14, headDimension: 64,
            vocabulary: 1000, positions: 1 << 21)
        let settings = ["data.sequence_length=1048576", "training.batch_size=1048576", "rotation.sequences=1000000"]
        for job in ModelJob.allCases {
            let planner = Planner(try workload(job, settings + ["data.train.path=x"], wide), cluster())
            let planned = planner.plan(alone)
            #expect(!planned.fits && planned.secondsPerStep.isFinite)
        }
        #expect(Int(bytes: 1e300) == .max && Int(bytes: 12.7) == 12)
    }

    @Test func `layers are dealt to no more owners than there are layers`() throws {
        let work = TernaryWork(try workload(.ptq))
        let part = StagePart(0..<8, of: 8)
        #expect(work.layers(part).count == 28)
        #expect(work.step(part, replicas: 1 << 40).own == work.step(part, replicas: 28).own)
    }

    @Test func `where no rotation is learned no backward pass runs, and what is not there turns nothing`() throws {
        func operations(_ r: String) throws -> Double {
            let settings = ["rotation.r1=\(r)", "rotation.r2=\(r)"]
            return Planner(try workload(.rotate, settings), cluster()).plan(alone).operationsPerStep
        }
        func needed(_ hasR1: Bool) -> Double {
            let plan = RotationPlan(PlanShapes.embedded, tokens: 512, weightsQuantized: false)
            return RotationCost(PlanShapes.embedded, plan, hasR1: hasR1).operationsPerStep(
                sequences: 8, length: 256, teacher: true, weightGradients: false, r1: false, r2: false)
        }
        let (learned, fixed, none) = try (operations("learned"), operations("hadamard"), operations("none"))
        #expect(fixed < 0.8 * learned && none < fixed)
        #expect(abs(none / needed(false) - 1) < 0.01)
        #expect(needed(true) > needed(false))
    }

    @Test func `rows that are stored are those of sequences, which replicas take whole`() throws {
        func planner(_ sequences: Int, _ tokens: Int, _ ranks: Int) throws -> Planner {
            let settings = [
                "rotation.objective=range", "rotation.sequences=\(sequences)", "rotation.tokens=\(tokens)", "data.train.path=x",
                "training.batch_size=1024",
            ]
            return Planner(try workload(.rotate, settings), cluster(ranks: ranks, cores: ranks))
        }
        // As many tokens of each sequence, and at least one.
        #expect(try planner(32, 500, 1).workload.storedTokens == 480)
        #expect(try planner(1000, 512, 1).workload.tokensPerStep == 1000)
        func seconds(_ ranks: Int) throws -> Double {
            let planned = try planner(32, 8192, ranks).plan(Layout(data: ranks, pipeline: 1, microbatches: 1))
            #expect(planned.bubbleFraction == 0)
            return planned.busySeconds[0]
        }
        #expect(try seconds(1) > 2 * seconds(32))
        #expect(try seconds(64) > 0.95 * seconds(32) && seconds(48) > 0.95 * seconds(32))
    }

    @Test func `steps on stored rows are told as such, and larger batches bring them nothing`() throws {
        let (search, report) = try search(
            .rotate, ["plan.cores_per_node=4", "rotation.objective=range", "data.train.path=x"])
        #expect(words(report).contains("100 steps on 512 tokens stored of 32 sequences of 256 tokens"))
        let best = try #require(search.best)
        #expect(abs(best.tokensPerSecond * best.planned.secondsPerStep - 512) < 1e-6)
        #expect(search.largerBatches.isEmpty)
    }

    @Test(arguments: ["rotation.pretrain_steps=200", "rotation.starts=200"])
    func `what is learned before the first step takes time`(_ setting: String) throws {
        func seconds(_ settings: String...) throws -> Double {
            let workload = try workload(.rotate, ["data.train.path=x", "data.eval.path=x", "training.steps=1"] + settings)
            return JobTime(workload).seconds(Planner(workload, cluster()).plan(alone), on: cluster())
        }
        #expect(try seconds(setting) > seconds("rotation.starts=2") + 0.1)
    }

    @Test func `the pass that quantize stores activations by takes time`() throws {
        func seconds(_ sequences: Int) throws -> Double {
            let workload = try workload(
                .quantize,
                [
                    "data.train.path=x", "data.eval.path=x", "quantization.weights.bits=4", "quantize.transform=learned",
                    "quantize.learning_steps=1", "rotation.sequences=\(sequences)",
                ])
            return JobTime(workload).seconds(Planner(workload, cluster()).plan(alone), on: cluster())
        }
        let pass = ModelCost(PlanShapes.embedded).forward(sequences: 1000, length: 256)
        #expect(try seconds(1001) - seconds(1) > 0.5 * pass / 1e11)
    }

    @Test func `a calibration text is divided by sequences`() throws {
        func seconds(_ replicas: Int) throws -> Double {
            let settings = [
                "quantization.weights.bits=4", "quantization.weights.method=gptq", "calibration.sequences=32",
                "data.train.path=x",
                "data.eval.windows=1",
            ]
            let part = StagePart(0..<8, of: 8)
            return QuantizeWork(try workload(.quantize, settings)).once(part, replicas: replicas).inTurn.seconds(on: cluster())
        }
        #expect(try seconds(31) > 0.95 * seconds(16) && seconds(16) < 0.6 * seconds(1))
    }

    @Test func `where replicas are too many for any batch, memory is not to blame`() throws {
        let (search, report) = try search(
            .train, ["plan.nodes=1048576", "plan.cores_per_node=64", "plan.ranks_per_node=64", "parallel.pipeline=1"])
        #expect(search.best == nil)
        #expect(report.problem?.description.hasPrefix("training.batch_size") == true)
        #expect(words(report).contains("nothing runs: 67108864 replicas"))
    }

    @Test func `a plan says that it leaves out an evaluation's tasks`() throws {
        let (_, report) = try search(.eval, ["plan.cores_per_node=1", "eval.tasks=text=x"])
        #expect(words(report).contains("no time for eval.tasks"))
    }

    @Test func `the network between stages is as slow as it is said to be`() throws {
        func seconds(_ bandwidth: Double, nodes: Int) throws -> Double {
            let cluster = cluster(nodes: nodes, ranks: 4 / nodes, cores: 4 / nodes, bandwidth: bandwidth)
            return Planner(try workload(.train), cluster).plan(Layout(data: 1, pipeline: 4, microbatches: 8)).secondsPerStep
        }
        let tensor = 4.0 * 256 * 256
        // Each of eight micro-batches, and the first over all boundaries.
        let difference = try seconds(1e6, nodes: 1) - seconds(1e12, nodes: 1)
        #expect(abs(difference / ((7 + 3) * 2 * tensor / 1e6) - 1) < 0.01)
        #expect(try seconds(1e6, nodes: 4) > 0.9 * seconds(1e6, nodes: 1))
        // A node that holds a whole replica hands nothing on.
        let whole = Planner(try workload(.train, ["training.batch_size=16"]), cluster(nodes: 2, ranks: 4, cores: 4))
        let layout = Layout(data: 2, pipeline: 4, microbatches: 8)
        let slow = Planner(whole.workload, cluster(nodes: 2, ranks: 4, cores: 4, bandwidth: 1e6))
        let passes = { (planned: PlannedLayout) in planned.secondsPerStep - planned.communicationSeconds }
        #expect(abs(passes(whole.plan(layout)) / passes(slow.plan(layout)) - 1) < 1e-6)
    }
}
