import Support
import Testing

extension CommandLineTests {
    /// What jobs export at their end.
    @Suite struct JobExports {
        @Test(arguments: [0, 2])
        func `a run killed at its exports makes those that it lacks when it is asked for again, and nothing else`(ranks: Int)
            throws
        {
            let model = try ModelFolder()
            let settings = ["quantization.weights.bits=4", "export.formats=huggingface,compressed-tensors"]
            let command = ["quantize"] + model.arguments() + settings.flatMap { ["--set", $0] }
            let first = try Program.run(command, in: model.path, ranks: ranks)
            #expect(first.code == 0, "\(first)")
            let (lost, kept) = ("out/exports/huggingface", "out/exports/compressed-tensors")
            let (weights, summary) = try (model.read("\(lost)/model.safetensors"), model.read("out/summary.json"))
            try removeTree(model.file(lost))
            try makeFolder(model.file("\(lost).tmp"))
            for name in ["config.json", ".writing"] { try model.write("half", to: "\(lost).tmp/\(name)") }

            let second = try Program.run(command, in: model.path, ranks: ranks)
            #expect(second.code == 0 && second.output.contains("which are made now: huggingface\n"), "\(second)")
            #expect(!second.output.contains(kept) && !second.output.contains("perplexity"), "\(second)")
            #expect(try model.read("\(lost)/model.safetensors") == weights)
            #expect(try model.read("out/summary.json") == summary)
            #expect(try entries(ofFolder: model.file("out/exports")).sorted() == ["compressed-tensors", "huggingface"])

            let third = try Program.run(command, in: model.path, ranks: ranks)
            #expect(third.code == 0 && third.output.contains("this run has finished; --overwrite runs it again"), "\(third)")
        }

        @Test func `a finished run makes other forms when they are asked for, and nothing of a killed one stays`() throws {
            let model = try ModelFolder()
            func run(_ formats: String) throws -> Program.Outcome {
                let settings = ["quantization.weights.bits=4", "export.formats=\(formats)"]
                return try Program.run(
                    ["quantize"] + model.arguments() + settings.flatMap { ["--set", $0] }, in: model.path, ranks: 0)
            }
            #expect(try run("none").code == 0)
            let summary = try model.read("out/summary.json")
            for name in ["events.json", "events.json.tmp-killed"] { try model.write("{}", to: "out/\(name)") }
            let other = try run("huggingface")
            #expect(other.code == 0 && other.output.contains("which are made now: huggingface"), "\(other)")
            #expect(try model.read("out/summary.json") == summary)
            #expect(try !entries(ofFolder: model.file("out")).contains { $0.hasPrefix("events.json") })
            #expect(try run("none").output.contains("this run has finished"))
        }

        @Test func `a form that has no place for the network is refused before its work`() throws {
            let model = try ModelFolder()
            let settings = ["quantization.weights.bits=4", "export.formats=gguf-tq2_0"]
            try Program.expectRefusal(
                ["quantize"] + model.arguments() + settings.flatMap { ["--set", $0] }, in: model.path, ranks: 0, code: 78,
                fragment: "do not divide into the blocks of 256")
            #expect(PathKind(model.file("out")) == .absent)
        }

        @Test(arguments: [
            ("train", []), ("ptq", []), ("quantize", ["quantization.weights.bits=8", "quantization.overrides=*.q_proj=4"]),
        ]) func `blocks of one scale, which the work does not leave, are refused before it`(
            _ job: String, _ settings: [String]
        ) throws {
            let model = try ModelFolder()
            let all = settings + ["model.path=embedded", "export.formats=gguf-tq2_0"]
            try Program.expectRefusal(
                [job] + model.arguments() + all.flatMap { ["--set", $0] }, in: model.path, ranks: 0, code: 78,
                fragment: "gguf-tq2_0: the format holds only blocks")
        }

        @Test(arguments: [
            ("quantize", ["quantization.weights.bits=4"], "onnx", "makes no ternary linears"),
            ("quantize", ["quantization.weights.bits=4"], "r-bin", "makes neither R1 nor R2"),
            ("rotate", ["rotation.r1=none", "rotation.r2=none"], "r-bin", "makes neither R1 nor R2"),
            ("rotate", [], "r-bin,onnx", "makes no ternary linears"),
            ("rotate", [], "compressed-tensors", "makes no packed integers"),
            ("train", [], "compressed-tensors-transforms", "makes no packed integers"),
            ("ptq", [], "compressed-tensors", "are not integers"),
            ("qat", ["qat.method=integer", "quantization.weights.bits=4"], "onnx", "makes no ternary linears"),
            (
                "quantize", ["quantization.weights.bits=4", "quantization.embedding_bits=4"], "compressed-tensors-padded",
                "the embedding is packed in 4 bits"
            ),
            (
                "quantize",
                ["quantization.weights.bits=4", "quantization.activations.bits=8", "quantization.overrides=*.q_proj=16"],
                "compressed-tensors", "is rounded and its weight is not"
            ),
            (
                "quantize", ["quantization.weights.bits=4", "quantize.recipe=auto"], "compressed-tensors-transforms",
                "rotates nothing at run time"
            ),
        ])
        func `a form that the job cannot fill is refused before its work`(
            _ job: String, _ settings: [String], _ formats: String, _ fragment: String
        ) throws {
            let model = try ModelFolder()
            let all = settings + ["export.formats=\(formats)"]
            try Program.expectRefusal(
                [job] + model.arguments() + all.flatMap { ["--set", $0] }, in: model.path, ranks: 0, code: 78,
                fragment: fragment
            )
        }
    }
}
