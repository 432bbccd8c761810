import Support
import TestSupport
import Testing

/// `eval.tasks`, as a user asks for it.
@Suite struct EvaluationTaskTests {
    private let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
        let goals = ["The city of", "In 1953 the dam", "She was born", "The river", "A film about", "He played for"]
        let lines = goals.enumerated().map { index, goal in
            #"{"goal": "\#(goal)", "sol1": "the team and the \#(index)", "sol2": "of the first", "label": \#(index % 2)}"#
        }
        try AtomicFile.write(lines.joined(separator: "\n"), to: folder.file("piqa.jsonl"))
        try AtomicFile.write(
            goals.map { #"{"text": "\#($0) north of the town"}"# }.joined(separator: "\n"), to: folder.file("t.jsonl"))
    }

    @Test func `any number of ranks, as replicas or stages, gives the same results`() throws {
        func results(_ name: String, ranks: Int, _ more: [String] = []) throws -> (JSONValue?, JSONValue) {
            let outcome = try Program.run(
                ["eval", "--out", name, "--set", "eval.tasks=piqa=piqa.jsonl,text=t.jsonl,lambada=t.jsonl"] + more,
                in: folder.path, ranks: ranks)
            #expect(outcome.code == 0, "\(outcome.errors)")
            let summary = try InputFile.json(folder.file(name + "/summary.json"))
            return (try InputFile.json(folder.file(name + "/results.json"))["results"], summary["tasks"] ?? .null)
        }
        let alone = try results("alone", ranks: 0)
        #expect(alone.0?["piqa"]?["acc,none"]?.number != nil && alone.0?["lambada"]?["perplexity_stderr,none"]?.number != nil)
        #expect(alone.1["text"]?["bos"]?.string?.isEmpty == false)
        #expect((alone.1["text"]?["word_perplexity"]?.number ?? 0) > 1)
        #expect(try results("replicas", ranks: 3) == alone)
        #expect(try results("stages", ranks: 2, ["--set", "parallel.pipeline=2"]) == alone)
    }

    @Test func `of a few items the results say of how many`() throws {
        let outcome = try Program.run(
            ["eval", "--out", "run", "--set", "eval.tasks=text=t.jsonl", "--set", "eval.limit=2"], in: folder.path)
        #expect(outcome.code == 0, "\(outcome.errors)")
        let results = try InputFile.json(folder.file("run/results.json"))
        #expect(results["config"]?["limit"] == .double(2))
        #expect(results["n-samples"]?["text"] == ["original": 6, "effective": 2])
    }

    /// Bits that are given round as ever.
    @Test func `beside tasks the model is scored as it is, unless it is said how to round it`() throws {
        try AtomicFile.write((0..<200).map { "The river rose in \(1800 + $0). " }.joined(), to: folder.file("text.txt"))
        func keys(_ more: String...) throws -> [String] {
            let name = "run-\(more.joined(separator: "-"))"
            let settings = ["data.eval.path=text.txt", "data.eval.windows=2", "data.sequence_length=48"] + more
            let outcome = try Program.run(
                ["eval", "--out", name] + settings.flatMap { ["--set", $0] }, in: folder.path)
            #expect(outcome.code == 0, "\(outcome.errors)")
            return try #require(InputFile.json(folder.file(name + "/summary.json"))["rows"]?.array)
                .compactMap { $0["key"]?.string }
        }
        #expect(try keys("eval.tasks=piqa=piqa.jsonl") == ["full_precision"])
        #expect(try keys("eval.tasks=piqa=piqa.jsonl", "quantization.weights.bits=8").count == 3)
        #expect(try keys().count > 1)
    }

    /// A run, its settings and its folder are the same network: what is lost by compressing must not be hidden.
    @Test func `tasks are scored on what has been made of the model`() throws {
        func likelihood(_ arguments: [String]) throws -> (value: Double, network: String) {
            let outcome = try Program.run(
                ["eval"] + arguments + ["--out", "run", "--overwrite", "--set", "eval.tasks=lambada=t.jsonl"], in: folder.path)
            #expect(outcome.code == 0, "\(outcome.errors)")
            let summary = try InputFile.json(folder.file("run/summary.json"))
            return (
                try #require(summary["tasks"]?["lambada"]?["perplexity"]?.number),
                try #require(summary["tasks_network"]?.string)
            )
        }
        let bits = ["quantization.weights.bits=3", "quantization.weights.granularity=tensor"].flatMap { ["--set", $0] }
        let inputs = ["quantization.activations.bits=4", "quantization.kv.bits=4"].flatMap { ["--set", $0] }
        for job in [["quantize"] + bits, ["ptq", "--set", "ternary.tolerance=0.3", "--set", "eval.compare=false"]] {
            let outcome = try Program.run(
                job + ["--out", job[0], "--set", "data.eval.windows=2", "--set", "data.sequence_length=32"], in: folder.path)
            #expect(outcome.code == 0, "\(outcome.errors)")
        }
        let stored = try likelihood([])
        #expect(stored.network == "as stored")
        // Nothing is rounded whose bits are not given.
        #expect(try likelihood(["--set", "quantization.weights.symmetric=false"]) == stored)
        let rounded = try likelihood(bits)
        #expect(rounded.value > 1.1 * stored.value && rounded.network == "round to nearest, W3 A16 KV16")
        let (run, packed) = (try likelihood(["quantize"]), try likelihood(["quantize/model"]))
        // Packed, a product adds in another order than the rounded floats.
        #expect(abs(run.value / rounded.value - 1) < 1e-4 && abs(packed.value / rounded.value - 1) < 1e-4)
        let (factors, given) = (try likelihood(["ptq/model"]), try likelihood(["--set", "ternary.path=ptq"]))
        #expect(
            factors.value > 1.1 * stored.value && abs(given.value / factors.value - 1) < 1e-4
                && given.network == "ternary, A16 KV16")
        let exact = try likelihood(["--set", "eval.hadamard=true"])
        #expect(abs(exact.value / stored.value - 1) < 1e-4 && exact.network == "Hadamard")
        let hadamard = try likelihood(inputs + ["--set", "eval.hadamard=true"])
        #expect(hadamard.value != stored.value && hadamard.network == "Hadamard, W16 A4 KV4")
    }

    @Test func `trained floats count as they are stored, whatever bits are given for others`() throws {
        let model = try ModelFolder()
        func summary(_ bits: Int) throws -> JSONValue {
            let settings = [
                "model.path=model", "data.eval.path=data.safetensors", "data.sequence_length=16", "data.eval.windows=2",
                "eval.trained=model", "quantization.weights.bits=\(bits)", "quantization.activations.bits=16",
                "quantization.kv.bits=16",
            ]
            let outcome = try Program.run(
                ["eval", "--overwrite", "--out", "out"] + settings.flatMap { ["--set", $0] }, in: model.path)
            #expect(outcome.code == 0, "\(outcome.errors)")
            return try InputFile.json(model.file("out/summary.json"))
        }
        let (stored, rounded) = (try summary(16), try summary(2))
        for key in ["bits_per_weight", "model_bytes"] { #expect(rounded[key] == stored[key] && stored[key] != nil) }
        #expect(rounded["rows"]?.array?.last?["bits"]?["weights"] == 16)
    }

    @Test(arguments: [
        ("eval.tasks=quiz=piqa.jsonl", 78 as Int32, "tasks are hellaswag, piqa"), ("eval.tasks=piqa", 78, "TASK=FILE"),
        ("eval.tasks=piqa=none.jsonl", 66, "none.jsonl"),
        ("eval.tasks=arc=piqa.jsonl", 65, "piqa.jsonl:1: question: is missing"),
        ("eval.tasks=text=a/t.jsonl,text=b/t.jsonl", 78, "a/t.jsonl and b/t.jsonl would both be text_t"),
    ]) func `what is no task is refused before the run begins`(_ setting: String, code: Int32, fragment: String) throws {
        try Program.expectRefusal(
            ["eval", "--out", "run", "--set", setting], in: folder.path, ranks: 0, code: code, fragment: fragment)
    }
}
