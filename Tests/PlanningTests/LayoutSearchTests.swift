import HuggingFace
import Models
import Parallelism
import Support
import Testing

@testable import Configuration
@testable import Planning

@Suite struct LayoutSearchTests {
    private static let cluster = ["plan.nodes=4", "plan.cores_per_node=64", "plan.memory_per_node=512GiB"]

    private func search(_ job: ModelJob, _ assignments: [String], shape: String = "llama-3-8b") throws -> (
        LayoutSearch, PlanReport
    ) {
        let config = try RunConfig(assignments: assignments)
        let shape = try #require(PlanShapes.published[shape])
        let search = LayoutSearch(job, config, shape, Cluster(config.plan), ranksPerNode: config.plan.ranksPerNode)
        return (search, PlanReport(search, config, model: "/models/llama"))
    }

    @Test func `for an 8B model on 4 nodes of 64 cores a layout that runs is found, with its time and its command`() throws {
        let (search, report) = try self.search(.rotate, Self.cluster)
        let best = try #require(search.best)
        #expect(best.planned.runs && best.planned.idleReplicas == 0)
        #expect(best.planned.peakMemory <= best.cluster.memoryPerRank)
        #expect((0.2...3).contains(best.hours) && abs(best.coreHours / best.hours - 256) < 1e-9)
        let lines = report.text.split(separator: "\n", omittingEmptySubsequences: false)
        #expect(lines.allSatisfy { $0.count <= 80 })
        let layout = best.planned.layout
        let assigned = [
            "parallel.data=\(layout.data)", "parallel.pipeline=\(layout.pipeline)",
            "parallel.microbatches=\(layout.microbatches)",
        ]
        #expect(lines.last.map(String.init) == assigned.map { "--set " + $0 }.joined(separator: " "))
        #expect(report.text.contains("OPENBLAS_NUM_THREADS=\(64 / best.cluster.ranksPerNode)"))
        #expect(report.json["best"]?["hours"]?.number == best.hours)
    }

    /// What the run itself refuses is no layout of a plan.
    @Test(arguments: [ModelJob.rotate, .train, .qat]) func `the run takes every layout that is said to run`(_ job: ModelJob)
        throws
    {
        for extra in [[], ["training.batch_size=12"], ["training.batch_size=64", "plan.ranks_per_node=6"]] {
            var config = try RunConfig()
            let runs = try search(job, Self.cluster + ["plan.memory_per_node=8TiB"] + extra).0.runs.filter(\.planned.runs)
            #expect(!runs.isEmpty)
            for run in runs {
                let layout = run.planned.layout
                (config.parallel.microbatches, config.training.batchSize) = (layout.microbatches, run.sequences)
                let dims = try config.layout(worldSize: layout.ranks)
                #expect(dims.data * dims.pipeline == layout.ranks)
                #expect(throws: Never.self) { try config.microBatches(.init(data: layout.data, pipeline: layout.pipeline)) }
            }
        }
    }

    @Test func `of another cluster nothing is this machine's, and what is assumed is said`() throws {
        for settings in [["plan.nodes=4"], ["plan.cores_per_node=64"]] {
            let cluster = Cluster(try RunConfig(assignments: settings).plan)
            #expect(
                cluster.coresPerNode == 64 && cluster.memoryPerNode == 256 << 30
                    && cluster.productFlops == AssumedNode.productFlops)
            #expect(cluster.assumptions.contains { $0.contains("plan.memory_per_node") })
            #expect(cluster.assumptions.contains { $0.contains("plan.gemm_flops") })
            #expect(cluster.assumptions.contains { $0.contains("plan.bandwidth") })
            #expect(cluster.assumptions.contains { $0.contains("plan.latency") })
        }
        let given = Self.cluster + ["plan.gemm_flops=1e11", "plan.bandwidth=1e10", "plan.latency=1e-6"]
        #expect(Cluster(try RunConfig(assignments: given).plan).assumptions.isEmpty)
        #expect(try search(.rotate, Self.cluster).1.text == search(.rotate, Self.cluster).1.text)
    }

    @Test func `replicas without a sequence are warned of, and a batch that employs them is planned instead`() throws {
        let (search, report) = try self.search(.rotate, Self.cluster + ["plan.ranks_per_node=4"])
        #expect(!search.runs.isEmpty && search.runs.allSatisfy { !$0.planned.runs })
        let best = try #require(search.best)
        #expect(best.sequences == 16 && best.planned.runs)
        #expect(report.text.contains("8 of 16 replicas would be idle"))
        #expect(report.text.contains("--set training.batch_size=16"))
        let evaluation = try self.search(.eval, Self.cluster + ["plan.ranks_per_node=16"])
        let words = evaluation.1.text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
        #expect(try #require(evaluation.0.best).planned.idleReplicas == 0 || words.contains("replicas are idle"))
    }

    /// Such a run is not refused: nobody waits for a replica without a part.
    @Test(arguments: [
        (["rotation.objective=range", "rotation.sequences=5"], 11, "5 stored sequences (rotation.sequences)"),
        (["rotation.objective=whip", "data.sampled_sequences=1"], 15, "1 stored sequence (data.sampled_sequences)"),
        (["rotation.objective=weights"], 8, "by blocks, and there are 8 blocks"), (["rotation.objective=range"], 0, ""),
    ]) func `replicas without a part of steps that do not run the network are warned of`(
        _ settings: [String], _ idle: Int, _ parts: String
    ) throws {
        let all = Self.cluster + ["plan.ranks_per_node=4", "parallel.data=16"] + settings
        let (search, report) = try self.search(.rotate, all, shape: "wiki-llama-4m")
        let best = try #require(search.best)
        #expect(best.planned.runs && best.planned.layout.data == 16 && best.planned.idleReplicas == idle)
        let warnings = (report.json["warnings"]?.array ?? []).compactMap(\.string).filter { $0.contains("replica") }
        #expect(warnings.count == (idle > 0 ? 1 : 0))
        if let warning = warnings.first {
            #expect(warning.hasPrefix("\(idle) of 16 replicas are idle in the steps: ") && warning.hasSuffix(parts))
        }
    }

    @Test func `ptq is planned in hours, without steps`() throws {
        let (search, report) = try self.search(.ptq, Self.cluster)
        #expect(try #require(search.best).hours > 0)
        #expect(report.text.contains("core-hours") && !report.text.contains("s/step"))
        #expect(report.text.contains("sq-train ptq"))
    }

    @Test func `a job of seconds is planned in seconds, and one of hours in hours`() throws {
        let small = ["plan.cores_per_node=1", "plan.memory_per_node=8GiB", "training.steps=1", "data.eval.windows=1"]
        let (search, report) = try self.search(.rotate, small, shape: "wiki-llama-4m")
        let best = try #require(search.best)
        let times = "\(best.seconds.formatted(digits: 3)) seconds, \(best.seconds.formatted(digits: 3)) core-seconds"
        #expect(report.text.contains("best: " + times) && !report.text.contains("hours"))
        #expect(best.seconds > 0.1 && report.text.contains(best.seconds.formatted(digits: 3) + "  "))
        let many = try self.search(.rotate, small + ["training.steps=100000"], shape: "wiki-llama-4m")
        #expect(many.1.text.contains(" core-hours") && !many.1.text.contains("core-seconds"))
    }

    @Test(
        arguments: [
            ("/models/llama", "/models/llama"), ("/models/llama/config.json", "/models/llama"), ("config.json", "."),
            ("/config.json", "/"), ("./config.json", "."), ("model.gguf", "model.gguf"), ("/tmp/llama.json", "FOLDER"),
            ("myconfig.json", "FOLDER"),
        ])
    func `the command names what a run reads, and not a file that it refuses`(_ model: String, _ path: String) throws {
        let config = try RunConfig(assignments: ["plan.cores_per_node=1", "plan.memory_per_node=8GiB"])
        let search = LayoutSearch(.rotate, config, PlanShapes.embedded, Cluster(config.plan), ranksPerNode: 1)
        let report = PlanReport(search, config, model: model)
        #expect(report.text.contains("--set model.path=\(path) ") || report.text.contains("--set model.path=\(path)\n"))
        #expect(report.text.contains("is not a model's folder") == (path == "FOLDER"))
    }

    @Test func `where nothing fits the plan says what the smallest needs and what there is`() throws {
        let (search, report) = try self.search(.rotate, ["plan.nodes=1", "plan.cores_per_node=4", "plan.memory_per_node=1GiB"])
        #expect(search.best == nil)
        #expect(
            report.text.split(separator: "\n").suffix(4).joined(separator: " ").contains(
                "nothing fits: the smallest layout needs"))
        #expect(report.json["best"] == nil)
    }

    @Test(arguments: [
        (ModelJob.train, [], "of them, or training.recompute=true"), (.train, ["training.recompute=true"], "of them"),
        (.eval, [], "of them, or model.storage=bf16, or model.storage=file"), (.ptq, [], "of them, or model.storage=file"),
        (.quantize, ["model.storage=bf16"], "of them, or model.storage=file"),
        (.rotate, ["rotation.objective=weights", "model.storage=file"], "of them"),
    ]) func `where nothing fits the plan advises what the job can do`(
        _ job: ModelJob, _ settings: [String], _ end: String
    ) throws {
        let small = ["plan.nodes=1", "plan.cores_per_node=4", "plan.memory_per_node=128MiB"] + settings
        let (search, report) = try self.search(job, small)
        #expect(search.best == nil)
        let text = report.text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
        #expect(text.hasSuffix("(plan.memory_per_node), or more \(end)"), "\(text)")
    }

    /// Micro-batches cost no time here, and memory where they are large.
    @Test(arguments: [ModelJob.rotate, .train]) func `what is chosen is what a run does that is told nothing`(
        _ job: ModelJob
    ) throws {
        let search = try search(job, ["plan.cores_per_node=1", "plan.memory_per_node=1TiB"], shape: "wiki-llama-4m").0
        let config = try RunConfig()
        #expect(
            try search.best?.planned.layout.microbatches == config.microBatches(.alone).ranges(config.training.batchSize).count)
        let running = search.runs.filter(\.planned.runs)
        #expect(zip(running, running.dropFirst()).allSatisfy { $0.seconds <= 1.01 * $1.seconds })
    }

    @Test func `quantize is planned with the defaults it has, and its command names none of them`() throws {
        let given = Self.cluster + ["plan.job=quantize", "quantization.weights.bits=4"]
        func planned(_ more: String...) throws -> RunConfig {
            try SettingsRequest(assignments: given + more).configuration(job: PlanSettings.command)
        }
        let config = try planned()
        #expect(config.quantization.activations.bits == 16 && config.quantization.kv.bits == 16)
        #expect(try planned("quantization.activations.bits=4").quantization.activations.bits == 4)
        #expect(try planned("plan.job=rotate").quantization.activations.bits == 4)
        func command(_ config: RunConfig) throws -> String {
            let shape = try #require(PlanShapes.published["llama-3-8b"])
            let search = LayoutSearch(.quantize, config, shape, Cluster(config.plan), ranksPerNode: nil)
            return try #require(PlanReport(search, config, model: "/models/llama").json["command"]?.string)
        }
        let (own, other) = (try command(config), try command(planned("quantization.activations.bits=4")))
        #expect(!own.contains("weights.bits") && !own.contains("activations") && !own.contains("kv.bits"))
        #expect(other.contains("quantization.activations.bits=4"))
    }

    @Test func `the speed that is given is that of float32 products, and a plan in bfloat16 says what it makes of it`() throws {
        let given = Self.cluster + ["plan.gemm_flops=2e11", "training.precision=bfloat16"]
        let text = try search(.train, given).1.text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
        #expect(text.contains("products 1.9 times as fast as the 200 GFLOPS of float32"))
    }

    @Test func `the command carries what else is set, quoted for a shell`() throws {
        let (_, report) = try search(
            .rotate, Self.cluster + ["training.steps=7", "data.train.path=/a b/it's.txt", "plan.job=rotate", "out=x"])
        #expect(report.text.contains("--set training.steps=7"))
        #expect(report.text.contains(#"--set 'data.train.path=/a b/it'\''s.txt'"#))
        #expect(!report.text.contains("--set plan.") && !report.text.contains("--set out"))
        let alone = try search(.rotate, ["plan.cores_per_node=4", "plan.memory_per_node=1TiB"], shape: "wiki-llama-4m").1.text
        #expect(alone.contains("sq-train launch -n") || alone.contains("OPENBLAS_NUM_THREADS=4 sq-train rotate"))
    }
}
