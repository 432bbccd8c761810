import Support
import TestSupport
import Testing

extension CommandLineTests {
    /// Jobs divided into stages, through the program: what they report and write is what one rank reports and writes.
    @Suite struct Pipeline {
        struct Case: CustomTestStringConvertible, Sendable {
            let job: String
            var settings: [String] = []
            var model = "llama_base_hf"
            /// Whether the job makes factors, whose counts are in `summary.json`.
            var isTernary: Bool { job == "ptq" || job == "qat" && !settings.contains("qat.method=integer") }
            /// Whether it takes `training.steps`.
            var learns: Bool { job != "ptq" && job != "quantize" }
            var testDescription: String { ([job, model] + settings).joined(separator: " ") }
        }

        static let cases = [
            Case(job: "rotate"), Case(job: "rotate", settings: ["rotation.balance=true", "calibration.sequences=4"]),
            Case(
                job: "quantize",
                settings: [
                    "quantization.weights.bits=4", "quantization.activations.bits=4", "quantization.kv.bits=4",
                    "quantization.weights.method=gptq", "quantization.weights.gptq.activation_order=true",
                    "quantize.transform=learned", "quantize.online=true", "quantize.balance=true", "quantize.learning_steps=3",
                    "calibration.sequences=4",
                ]),
            Case(job: "train"), Case(job: "ptq", settings: ["ternary.tolerance=0.3"]),
            Case(job: "qat", settings: ["ternary.tolerance=0.3", "qat.distill=true"]),
            Case(job: "qat", settings: ["qat.method=integer", "quantization.weights.bits=4"]),
            Case(job: "train", model: "opt_hf"), Case(job: "train", model: "opt350_style_hf"),
            Case(job: "rotate", settings: ["quantization.activations.bits=8"], model: "opt_hf"),
            Case(job: "ptq", settings: ["ternary.tolerance=0.3"], model: "opt_hf"),
            Case(
                job: "ptq", settings: ["ternary.weighting=both", "ternary.bits=4", "calibration.sequences=4"], model: "opt_hf"),
            Case(job: "ptq", settings: ["ternary.tolerance=0.3"], model: "opt350_style_hf"),
            Case(job: "qat", settings: ["ternary.tolerance=0.3", "qat.distill=true"], model: "opt_hf"),
            Case(job: "qat", settings: ["qat.method=integer", "quantization.weights.bits=4"], model: "opt_hf"),
        ]

        @Test(arguments: cases) func `two stages do what one rank does`(_ testCase: Case) throws {
            let model = try ModelFolder(testCase.model)
            func run(_ ranks: Int, _ settings: [String]) throws -> (summary: JSONValue, losses: [Double]) {
                let out = "out-\(ranks)"
                let arguments =
                    [testCase.job] + model.arguments()
                    + (testCase.settings + settings + ["training.steps=3", "training.batch_size=4", "parallel.microbatches=4"])
                    .flatMap { ["--set", $0] } + ["--out", out]
                let outcome = try Program.run(arguments, in: model.path, ranks: ranks)
                #expect(outcome.code == 0, "\(outcome.errors)")
                let summary = try InputFile.json(model.file("\(out)/summary.json"))
                let lines = !testCase.learns ? [] : try model.read("\(out)/metrics.jsonl").split(separator: 10)
                return (summary, try lines.map { try JSONValue(parsing: Array($0))["loss"]?.number ?? .nan })
            }
            let one = try run(0, [])
            let two = try run(2, ["parallel.pipeline=2"])
            #expect(two.losses == one.losses && (!testCase.learns || one.losses.count == 3))
            #expect(two.summary["pipeline_parallel"]?.integer == 2 && two.summary["data_parallel"]?.integer == 1)
            let perplexities = try #require(one.summary["perplexity"]?.object)
            #expect(perplexities.count >= 2)
            for (name, value) in perplexities.members {
                #expect(value.number != nil && two.summary["perplexity"]?[name] == value, "\(name)")
            }
            for key in ["layers", "additions", "multiplications", "dense_multiplications"] {
                #expect((one.summary[key] != nil) == testCase.isTernary && two.summary[key] == one.summary[key], "\(key)")
            }
            let verified = try Program.run(
                [
                    "verify", "out-0/model", "out-2/model", "--set", "data.eval.path=data.safetensors", "--set",
                    "data.sequence_length=16",
                ],
                in: model.path)
            #expect(verified.code == 0, "\(verified.output) \(verified.errors)")
        }

        @Test(arguments: [0, 2]) func `a model that nothing rotates is refused before anything is written`(_ ranks: Int) throws
        {
            let model = try ModelFolder("opt350_style_hf")
            for job in [["rotate"], ["eval", "--set", "eval.hadamard=true"]] {
                try Program.expectRefusal(
                    job + model.arguments(), in: model.path, ranks: ranks, code: 78,
                    fragment: "cannot be rotated: its norms stand on")
            }
        }

        @Test(arguments: [0, 2]) func `a run that will not fit says so before it starts`(_ ranks: Int) throws {
            let model = try ModelFolder()
            // More than 10¹³ weights: beyond any machine, whatever the plan says of some cluster.
            try model.changeJSON("model/config.json") {
                $0["hidden_size"] = .integer(1 << 17)
                $0["intermediate_size"] = .integer(1 << 19)
                $0["num_hidden_layers"] = .integer(100)
            }
            for job in ["rotate", "train", "qat", "ptq", "eval"] {
                try Program.expectRefusal(
                    [job] + model.arguments() + ["--set", "plan.memory_per_node=100000TiB"], in: model.path, ranks: ranks,
                    code: 78,
                    fragment: "parallel: the run needs about", after: "plan.memory_per_node: has no effect here")
            }
        }

        @Test func `sizes that no product of holds in 64 bits are refused like others that no checkpoint has`() throws {
            let model = try ModelFolder()
            try model.changeJSON("model/config.json") {
                $0["intermediate_size"] = .integer(2_000_000_000)
                $0["num_hidden_layers"] = .integer(100)
            }
            for job in ["rotate", "train", "qat", "ptq", "eval"] {
                try Program.expectRefusal(
                    [job] + model.arguments(), in: model.path, ranks: 0, code: 65, fragment: "config.json says")
            }
        }

        @Test func `the memory of a cluster that is planned for does not limit a run here`() throws {
            let model = try ModelFolder()
            let outcome = try Program.run(
                ["train"] + model.arguments() + ["--set", "plan.memory_per_node=1MiB"], in: model.path)
            #expect(outcome.code == 0, "\(outcome.errors)")
        }
    }
}
