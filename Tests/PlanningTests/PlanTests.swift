import Models
import Rotation
import Testing

@testable import Configuration
@testable import Planning

@Suite struct PlanTests {
    private func cluster(nodes: Int = 1, ranks: Int = 1, cores: Int = 1, memory: Int = 1 << 40, flops: Double = 1e11) -> Cluster
    {
        Cluster(
            nodes: nodes, ranksPerNode: ranks, coresPerNode: cores, memoryPerNode: memory, bandwidth: 1e10, latency: 1e-6,
            productFlops: flops)
    }

    private func planner(_ job: ModelJob, _ shape: Architecture, _ cluster: Cluster, _ assignments: String...) throws
        -> Planner
    {
        Planner(Workload(job, try RunConfig(assignments: assignments), shape), cluster)
    }

    /// What is executed but not needed: attention's scores a second time, the retraction; together a few percent here.
    @Test func `a rank's operations are those the algorithm needs, and little more`() throws {
        let planned = try planner(.rotate, PlanShapes.embedded, cluster()).plan(Layout(data: 1, pipeline: 1, microbatches: 4))
        let plan = RotationPlan(PlanShapes.embedded, tokens: 2048, weightsQuantized: false)
        let needed = RotationCost(PlanShapes.embedded, plan).operationsPerStep(
            sequences: 8, length: 256, teacher: true, weightGradients: false, r1: true, r2: true)
        #expect(planned.operationsPerStep > needed)
        #expect(planned.operationsPerStep < 1.1 * needed)
    }

    @Test func `a pass of training costs three forward passes`() throws {
        let planned = try planner(.train, PlanShapes.deep, cluster(), "data.sequence_length=16").plan(
            Layout(data: 1, pipeline: 1, microbatches: 1))
        let forward = ModelCost(PlanShapes.deep).forward(sequences: 8, length: 16)
        #expect(abs(planned.operationsPerStep / forward - 3) < 0.02)
    }

    /// A teacher's pass is not gone back through.
    @Test(
        arguments: [
            (.train, []), (.qat, ["qat.distill=true"]), (.rotate, []), (.rotate, ["rotation.objective=ce"]),
        ] as [(ModelJob, [String])])
    func `recomputing takes one more forward pass of the blocks, whatever runs beside`(
        _ job: ModelJob, _ settings: [String]
    ) throws {
        func operations(_ recompute: Bool) throws -> Double {
            let config = try RunConfig(assignments: settings + ["training.recompute=\(recompute)"])
            return Planner(Workload(job, config, PlanShapes.deep), cluster())
                .plan(Layout(data: 1, pipeline: 1, microbatches: 1)).operationsPerStep
        }
        let cost = ModelCost(PlanShapes.deep)
        let blocks = cost.forward(sequences: 8, length: 256) - 2 * 8 * 256 * Double(cost.head)
        let rotation = RotationCost(
            PlanShapes.deep,
            RotationPlan(
                PlanShapes.deep, tokens: RotationPlan.tokens(perStep: 8 * 256, replicas: 1), weightsQuantized: false))
        // What is rotated in activations is so forward, too.
        let turned = job == .rotate ? (0..<32).reduce(0) { $0 + 8 * 256 * rotation.block($1).perToken } : 0
        let more = try (operations(true) - operations(false)) / (blocks + turned)
        #expect(abs(more - 1) < 0.02, "\(more) passes")
    }

    @Test(arguments: [(2, 8), (4, 8), (4, 4), (8, 8), (32, 64)])
    func `stages of equal work wait as the formula says`(stages: Int, microbatches: Int) throws {
        // Of as many layers as stages: halves of one are not alike.
        let shape = stages == 32 ? PlanShapes.deeper : PlanShapes.deep
        func bubble(_ recompute: Bool, _ schedule: String = "1f1b") throws -> Double {
            try planner(
                .train, shape, cluster(ranks: stages, cores: stages), "training.batch_size=\(microbatches)",
                "training.recompute=\(recompute)", "parallel.schedule=\(schedule)"
            ).plan(Layout(data: 1, pipeline: stages, microbatches: microbatches)).bubbleFraction
        }
        let others = Double(stages - 1)
        #expect(abs(try bubble(true) - others / (Double(microbatches) + others)) < 0.02)
        #expect(abs(try bubble(false, "gpipe") - others / (Double(microbatches) + others)) < 0.02)
        // The gradients of weights, nearly a third of the work, are put off: little more than a third of the waiting is left.
        let shorter = try bubble(false) / (others / (3 * Double(microbatches) + others))
        #expect((1...1.3).contains(shorter), "\(shorter)")
    }

    @Test func `each stage holds less than the model, and the stages together hold all of it`() throws {
        for job in ModelJob.allCases {
            let planner = try planner(job, PlanShapes.deep, cluster(), "data.sequence_length=16")
            let whole = planner.plan(Layout(data: 1, pipeline: 1, microbatches: 8)).peakMemory
            let parts = planner.plan(Layout(data: 1, pipeline: 4, microbatches: 8)).memory
            #expect(parts.allSatisfy { $0 < whole / 2 }, "\(job)")
            #expect(parts.reduce(0, +) > whole, "\(job): with a process for each")
        }
    }

    /// What backward passes keep that put gradients off is as much as what forward passes keep.
    @Test func `what the last stage puts off takes the memory that the first one has for micro-batches`() throws {
        // Nothing is drawn, which would keep more.
        let settings = ["data.sequence_length=2048", "training.batch_size=8", "data.train.path=x", "data.eval.path=x"]
        func difference(_ setting: String) throws -> Double {
            let config = try RunConfig(assignments: settings + [setting])
            let planner = Planner(Workload(.train, config, PlanShapes.deep), cluster())
            let memory = planner.plan(Layout(data: 1, pipeline: 4, microbatches: 8)).memory
            return Double(memory[0] - memory[3])
        }
        // Of the eight blocks that each stage has.
        let cost = ModelCost(PlanShapes.deep)
        let activations = 4 * 2048 * (0..<8).reduce(0.0) { $0 + Double(cost[$1].activations(weightGradients: true)) }
        let deferring = try difference("training.recompute=false") / (StageMemory.slack * activations)
        #expect(abs(deferring) < 0.06)
        // Recomputing, nothing is put off.
        #expect(try difference("training.recompute=true") > 4 * 2048 * Double(PlanShapes.deep.hiddenSize))
    }

    /// Of 32 layers: each stage one, alike but for what it keeps of micro-batches and, the last one, of the teacher.
    @Test func `of 32 stages each holds its layer, and what its place asks for`() throws {
        func memory(_ settings: String..., microbatches: Int = 64) throws -> [Double] {
            // Tokens enough for what is kept to outweigh the end of the run.
            let long = ["data.sequence_length=2048", "training.batch_size=\(microbatches)", "data.train.path=x"]
            let config = try RunConfig(assignments: long + ["data.eval.path=x"] + settings)
            let workload = Workload(.rotate, config, PlanShapes.deeper)
            let layout = Layout(data: 1, pipeline: 32, microbatches: microbatches)
            #expect(workload.parts(layout).allSatisfy { $0.blocks.count == 2 && $0.blocks.lowerBound % 2 == 0 })
            return MemoryPlan(workload, layout).bytes.map { Double($0) / StageMemory.slack }
        }
        let cost = ModelCost(PlanShapes.deeper)
        let alone = try memory("rotation.objective=ce")
        // A stage keeps a micro-batch more than the next one, which puts the rotations' gradients of one more off.
        let kept = zip(alone, alone.dropFirst()).map { $0 - $1 }.dropFirst().dropLast()
        #expect(kept.allSatisfy { abs($0 / kept[5] - 1) < 1e-6 } && kept[5] > 0)
        let blocks = (0..<2).reduce(0.0) { $0 + Double(cost[$1].activations(weightGradients: false)) }
        let observed = (0..<2).reduce(0) { $0 + 3 * PlanShapes.deeper.blocks[$1].quantizedWidth }
        #expect(kept[5] > 4 * 2048 * (blocks - Double(observed)))
        // Beside a teacher nothing is put off. Its states of all micro-batches of the next step wait on the last stage.
        let taught = try memory()
        #expect(taught[5] - taught[6] > kept[5] && abs(taught[0] - alone[0]) < 1024)
        let recomputing = "training.recompute=true"
        let (student, both) = (try memory("rotation.objective=ce", recomputing), try memory(recomputing))
        let others = zip(student, both).dropLast()
        #expect(others.allSatisfy { abs($1 - $0) < 1024 })
        let states = Double(4 * 64 * 2048 * PlanShapes.deeper.hiddenSize)
        let added = both[31] - student[31]
        #expect(abs(added / states - 1) < 0.05)
        let fewer = try memory(microbatches: 32)
        let half = taught[31] - fewer[31]
        #expect(abs(2 * half / states - 1) < 0.05 && fewer[0] == taught[0])
    }

    @Test func `a teacher fills what 32 stages would wait`() throws {
        func planned(_ settings: String...) throws -> PlannedLayout {
            let recomputing = ["training.batch_size=64", "training.recompute=true"]
            let config = try RunConfig(assignments: settings + recomputing)
            return Planner(Workload(.rotate, config, PlanShapes.deeper), cluster(ranks: 32, cores: 32)).plan(
                Layout(data: 1, pipeline: 32, microbatches: 64))
        }
        let (alone, taught) = (try planned("rotation.objective=ce"), try planned())
        #expect(abs(alone.bubbleFraction - 31 / 95) < 0.03, "\(alone.bubbleFraction)")
        // A quarter of the work moves into a third that was waiting: 95·¾ passes of 64 against 64 whole ones.
        #expect(taught.bubbleFraction < 0.5 * alone.bubbleFraction, "\(taught.bubbleFraction)")
        #expect(taught.secondsPerStep < 1.02 * alone.secondsPerStep)
    }

    @Test func `a checkpoint has a copy, of weights too where a step follows it`() throws {
        func memory(_ every: Int) throws -> Int {
            try planner(.train, PlanShapes.deep, cluster(), "training.steps=3", "checkpoint.every=\(every)").plan(
                Layout(data: 1, pipeline: 1, microbatches: 8)
            ).peakMemory
        }
        // The last one is made of a copy of the optimizer's states.
        let (none, last, followed) = try (memory(0), memory(3), memory(2))
        #expect(none < last && last < followed)
    }

    @Test func `where no core is idle every checkpoint takes time, else the last`() throws {
        func seconds(_ every: Int, cores: Int) throws -> Double {
            let planner = try planner(
                .train, PlanShapes.deep, cluster(ranks: 2, cores: cores), "training.steps=8", "checkpoint.every=\(every)",
                "data.train.path=x", "data.eval.path=x")
            let planned = planner.plan(Layout(data: 2, pipeline: 1, microbatches: 4))
            return JobTime(planner.workload).seconds(planned, on: planner.cluster)
        }
        for (cores, expected) in [(2, 3.0), (3, 1)] {
            let (none, one, some) = try (seconds(0, cores: cores), seconds(8, cores: cores), seconds(3, cores: cores))
            // Where steps follow, more memory is taken from the system.
            #expect(one > none && abs((some - none) / (one - none) - expected) < 0.2, "\(none), \(one), \(some) s")
        }
    }

    @Test(
        arguments: [
            ([], 5), (["eval.hadamard=true"], 7), (["eval.trained=x"], 7), (["ternary.path=x"], 11),
            (["ternary.path=x", "eval.compare=false"], 7), (["ternary.path=x", "eval.trained=x"], 11),
            (["quantization.activations.bits=16"], 3), (["eval.tasks=text=x"], 1),
        ] as [([String], Int)])
    func `an evaluation takes two passes for each row but the first`(_ settings: [String], _ passes: Int) throws {
        let bits = settings.contains { $0.hasPrefix("eval.tasks") } ? ["quantization.activations.bits=16"] : []
        let config = try RunConfig(
            assignments: ["quantization.weights.bits=16", "quantization.kv.bits=16"] + bits + settings)
        #expect(Workload(.eval, config, PlanShapes.deep).passes == passes)
    }

    @Test func `factors are applied by additions, which take longer than products`() throws {
        func seconds(_ settings: String...) throws -> Double {
            let config = try RunConfig(assignments: ["data.eval.windows=32"] + settings)
            let planner = Planner(Workload(.eval, config, PlanShapes.embedded), cluster(flops: 2.4e11))
            return planner.plan(Layout(data: 1, pipeline: 1, microbatches: 32)).secondsPerStep
        }
        let (plain, trained) = try (seconds(), seconds("eval.trained=x"))
        let ternary = try seconds("ternary.path=x", "eval.compare=false")
        #expect(ternary - plain > 1.5 * (trained - plain))
    }

    @Test func `ranks beyond the cores gain nothing`() throws {
        func seconds(_ ranks: Int) throws -> Double {
            try planner(.rotate, PlanShapes.embedded, cluster(ranks: ranks, cores: 2)).plan(
                Layout(data: ranks, pipeline: 1, microbatches: 1)
            )
            .secondsPerStep
        }
        #expect(try seconds(2) < 0.6 * cost(ranks: 1))
        #expect(try seconds(8) > seconds(2))

        func cost(ranks: Int) throws -> Double {
            try planner(.rotate, PlanShapes.embedded, cluster(ranks: ranks, cores: ranks)).plan(
                Layout(data: ranks, pipeline: 1, microbatches: 1)
            )
            .secondsPerStep
        }
    }

    @Test func `layouts come with the best first, and those that do not fit last`() throws {
        let layouts = try planner(.train, PlanShapes.deep, cluster(ranks: 8, cores: 8, memory: 8 * 500 << 20)).layouts()
        let fitting = layouts.prefix { $0.fits }
        #expect(!fitting.isEmpty && fitting.count < layouts.count)
        #expect(layouts.dropFirst(fitting.count).allSatisfy { !$0.fits && $0.peakMemory > 500 << 20 })
        #expect(zip(fitting, fitting.dropFirst()).allSatisfy { $0.secondsPerStep <= $1.secondsPerStep })
        #expect(Set(layouts.map(\.layout)).count == layouts.count)
        #expect(layouts.allSatisfy { $0.layout.ranks == 8 })
    }

    @Test func `what parallel asks for is kept`() throws {
        let layouts = try planner(
            .rotate, PlanShapes.deep, cluster(ranks: 8, cores: 8), "parallel.pipeline=4", "parallel.microbatches=4"
        ).layouts()
        #expect(layouts.map(\.layout) == [Layout(data: 2, pipeline: 4, microbatches: 4)])
    }

    @Test func `traffic is what a run hands over`() throws {
        func bytes(_ job: ModelJob, _ layout: Layout, _ shape: Architecture = PlanShapes.embedded, _ settings: String...)
            throws -> Int
        {
            let config = try RunConfig(assignments: settings)
            return Planner(Workload(job, config, shape), cluster(ranks: 2, cores: 2)).plan(layout).bytesPerStep
        }
        let (replicas, stages) = (
            Layout(data: 2, pipeline: 1, microbatches: 2), Layout(data: 1, pipeline: 2, microbatches: 4)
        )
        // 256·255/2 + 4·64·63/2 doubles: what the learner itself hands over, but for the loss. And half of the next rotations.
        let (gradients, next) = (8 * (256 * 255 / 2 + 4 * 64 * 63 / 2), 4 * (256 * 256 + 4 * 64 * 64))
        let rotations = gradients + next / 2
        // Half of the matrices with R1 in the weights: 512 rows of queries, keys and values, 256 and 768 of outputs.
        let matrices = 4 * 4 * 256 * (512 + 256 + 768) / 2
        #expect(try bytes(.rotate, replicas) == rotations + matrices)
        // 3,930,178 in a run (2026-11-29), whose ranks divide whole matrices; 522,338 where none are rotated.
        #expect(abs(Double(rotations + matrices) / 3_930_178 - 1) < 0.1)
        #expect(try bytes(.rotate, replicas, PlanShapes.embedded, "rotation.objective=range") == rotations)
        // Of two stages the first sends the hidden states of two networks, and the last a gradient.
        let tensor = 4 * 2048 * 256
        #expect(try bytes(.rotate, stages) == rotations + 2 * tensor)
        #expect(try bytes(.rotate, Layout(data: 1, pipeline: 4, microbatches: 8)) == gradients + next / 4 + 3 * tensor)
        #expect(try bytes(.train, stages) == tensor)
        // Stages that are embedding and head of one matrix give each other its gradient.
        let tied = PlanShapes.smolLM2
        let (untied, own) = (4 * 2048 * 576, 4 * 49_152 * 576)
        #expect(try bytes(.train, stages, tied) == untied + own)
        // An evaluation sends the hidden states of each of its passes: 5 of 2 windows, 2,621,504 in a run.
        #expect(
            try bytes(.eval, Layout(data: 1, pipeline: 2, microbatches: 2), PlanShapes.embedded, "data.eval.windows=2")
                == 5 * 2 * 4 * 256 * 256)
    }

    /// Of 32 blocks, and of 64, before a head of 16 columns.
    @Test(
        arguments: [
            (.rotate, []), (.rotate, ["rotation.objective=range"]), (.rotate, ["rotation.objective=weights"]),
            (.rotate, ["rotation.r1=none", "rotation.r2=none"]), (.train, []), (.qat, []),
            (.qat, ["qat.method=integer", "quantization.weights.bits=4"]), (.ptq, []), (.quantize, []), (.eval, []),
        ] as [(ModelJob, [String])])
    func `whatever steps compute, blocks alike are divided evenly`(_ job: ModelJob, _ settings: [String]) throws {
        for (shape, blocks) in [(PlanShapes.deep, 32), (PlanShapes.deeper, 64)] {
            let workload = Workload(job, try RunConfig(assignments: settings), shape)
            for stages in [2, 4, 32, blocks] {
                let counts = workload.division(stages: stages, replicas: 2).map(\.count)
                #expect(counts.allSatisfy { abs($0 - blocks / stages) <= (stages < 32 ? 2 : 1) }, "\(counts)")
                #expect(counts.reduce(0, +) == blocks && counts.allSatisfy { $0 > 0 })
            }
        }
    }

    @Test func `a large head takes blocks from the last stage, but for a decomposition`() throws {
        func last(_ job: ModelJob) throws -> Int {
            Workload(job, try RunConfig(), PlanShapes.embedded).division(stages: 2, replicas: 1)[1].count
        }
        #expect(try last(.rotate) == 3 && last(.ptq) == 4)
    }

    @Test func `a head that is the embedding, too, is counted where it is held`() throws {
        let workload = Workload(.train, try RunConfig(), PlanShapes.smolLM2)
        let matrix = Double(49_152 * 576)
        func held(_ stages: Int) -> [Double] {
            workload.parts(Layout(data: 1, pipeline: stages, microbatches: 8)).map(workload.parameters)
        }
        let (whole, stages) = (held(1), held(2))
        #expect(stages.reduce(0, +) == whole[0] + matrix)
        #expect(whole[0] == PlanShapes.smolLM2.parameterCount - matrix)
    }
}

/// What `quantize` is planned to take.
@Suite struct QuantizePlanTests {
    private func plan(_ layout: Layout, _ settings: String...) throws -> PlannedLayout {
        let config = try RunConfig(
            assignments: ["quantization.weights.bits=4", "data.sequence_length=64", "data.eval.windows=8", "data.train.path=x"]
                + settings)
        let cluster = Cluster(
            nodes: 1, ranksPerNode: layout.ranks, coresPerNode: layout.ranks, memoryPerNode: 64 << 30, bandwidth: 4e9,
            latency: 2e-6, productFlops: 1e11)
        return Planner(Workload(.quantize, config, PlanShapes.deep), cluster).plan(layout)
    }

    private let alone = Layout(data: 1, pipeline: 1, microbatches: 1)

    @Test func `five passes over the windows, and GPTQ besides`() throws {
        let forward = ModelCost(PlanShapes.deep).forward(sequences: 8, length: 64)
        #expect(abs(try plan(alone).operationsPerStep / forward - 5) < 0.01)
        let gptq = "quantization.weights.method=gptq"
        let (nearest, compared) = (try plan(alone), try plan(alone, gptq))
        let calibrated = try plan(alone, gptq, "quantization.weights.gptq.compensation=0")
        #expect(calibrated.secondsPerStep > 2 * nearest.secondsPerStep)
        #expect(compared.secondsPerStep > 1.5 * calibrated.secondsPerStep)
        let memory = try [0, 0.5].map {
            try plan(
                alone, gptq, "quantization.weights.gptq.compensation=\($0)", "calibration.sequences=20000"
            ).peakMemory
        }
        #expect(Double(memory[1]) > 1.5 * Double(memory[0]))
        #expect(try plan(alone, "quantize.recipe=auto").secondsPerStep > 2.5 * calibrated.secondsPerStep)
    }

    @Test func `balancing takes a pass over the calibration text, before rounding and before rotations are learned`() throws {
        #expect(try plan(alone, "quantize.balance=true").secondsPerStep > plan(alone).secondsPerStep)
        func job(_ balance: Bool) throws -> Double {
            let config = try RunConfig(
                assignments: [
                    "data.sequence_length=64", "data.eval.path=x", "data.train.path=x", "data.eval.windows=1",
                    "training.steps=10", "rotation.balance=\(balance)",
                ])
            let cluster = Cluster(
                nodes: 1, ranksPerNode: 1, coresPerNode: 1, memoryPerNode: 64 << 30, bandwidth: 4e9, latency: 2e-6,
                productFlops: 1e11)
            let workload = Workload(.rotate, config, PlanShapes.deep)
            return JobTime(workload).seconds(Planner(workload, cluster).plan(alone), on: cluster)
        }
        #expect(try job(true) > 1.02 * job(false))
    }

    @Test func `replicas divide a calibration, stages wait for each other`() throws {
        let gptq = "quantization.weights.method=gptq"
        let one = try plan(alone, gptq).secondsPerStep
        #expect(try plan(Layout(data: 4, pipeline: 1, microbatches: 1), gptq).secondsPerStep < 0.35 * one)
        #expect(try plan(Layout(data: 1, pipeline: 4, microbatches: 8), gptq).secondsPerStep > 0.6 * one)
    }

    @Test func `with weights in their file memory does not grow with the calibration text`() throws {
        func memory(_ storage: String, _ sequences: Int) throws -> Int {
            try plan(
                alone, "model.storage=\(storage)", "quantization.weights.method=gptq", "calibration.sequences=\(sequences)"
            ).peakMemory
        }
        #expect(try memory("file", 4096) == memory("file", 16))
        #expect(try memory("f32", 4096) > memory("f32", 16) + (250 << 20))
    }

    @Test func `weights in their file take no memory, in bfloat16 half`() throws {
        let memory = try ["f32", "bf16", "file"].map { try plan(alone, "model.storage=\($0)").peakMemory }
        #expect(memory[0] > memory[1] && memory[1] > memory[2])
        let weights = 4 * PlanShapes.deep.parameterCount
        #expect(Double(memory[2]) < Double(StageMemory.process) + 0.5 * weights)
    }
}
