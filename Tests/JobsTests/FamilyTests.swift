import Autograd
import Collectives
import Compression
import Foundation
import HuggingFace
import Models
import Parallelism
import Support
import TensorCore
import TestSupport
import Testing

@testable import Configuration
@testable import Jobs
@testable import Runs

/// The house knows no family: none is named in it, and one that it has never seen runs through its jobs.
@Suite struct FamilyTests {
    private static let sources =
        GoldenSuite.testsFolder.split(separator: "/", omittingEmptySubsequences: false).dropLast()
        .joined(separator: "/") + "/Sources"

    /// A line's code and its texts, without the comment at its end: `//` within a text begins none.
    private static func withoutComment(_ line: Substring) -> String {
        var (result, isText, previous) = ("", false, Character(" "))
        for character in line {
            if character == "\"", previous != "\\" { isText.toggle() }
            if character == "/", previous == "/", !isText { return String(result.dropLast()) }
            result.append(character)
            previous = previous == "\\" && character == "\\" ? " " : character
        }
        return result
    }

    @Test func `a comment ends a line's code, and a text may have slashes`() {
        #expect(Self.withoutComment("a = 1  // like OPT") == "a = 1  ")
        #expect(Self.withoutComment(#"a("https://x/opt", "\"//b") // c"#) == #"a("https://x/opt", "\"//b") "#)
        #expect(Self.withoutComment(#""\\" // c"#) == #""\\" "#)
    }

    /// Names that are no family's here: of the model that ships with the program, of a program that runs models of many
    /// families, of the list of families itself, and, where tokenizers are told apart, of those who first had them.
    private static func allowed(_ file: String) -> [String] {
        let tokenizers = ["Llama 3", "Qwen 2 to 3.5"]
        return ["wiki-llama-4m", "llama.cpp"]
            + (file == "Models/Core/ModelFamily.swift" ? ["Entry(Llama.self), Entry(OPT.self)"] : [])
            + (file == "HuggingFace/Tokenizer/PreTokenizer.swift" ? tokenizers : [])
            + (file == "Exports/GGUFPreTokenizer.swift" ? ["\"llama-bpe\"", "\"qwen2\""] : [])
    }

    @Test func `no file outside a family's folder names it`() throws {
        let names = try Regex(#"[Ll]lama|[Mm]istral|[Qq]wen|\bOPT|\bopt\b"#)
        let files = try FileManager.default.subpathsOfDirectory(atPath: Self.sources).filter { file in
            ["swift", "c", "h"].contains(file.split(separator: ".").last)
                && !["Models/Llama/", "Models/OPT/"].contains { file.hasPrefix($0) }
        }
        #expect(files.count > 100)
        for file in files {
            let text = try String(contentsOfFile: Self.sources + "/" + file, encoding: .utf8)
            var isLongText = false
            for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
                // A text of several lines has no comments in it.
                let content = isLongText ? String(line) : Self.withoutComment(line)
                if content.contains("\"\"\"") { isLongText.toggle() }
                let code = Self.allowed(file).reduce(content) { $0.replacing($1, with: "") }
                if code.contains(names) { Issue.record("\(file):\(number + 1): \(line)") }
            }
        }
    }

    @Test func `a foreign family of two linears and a norm is planned and rotated`() throws {
        let jobs = try ForeignJobs()
        try PlanJob(jobs.folder.file("model"), asJSON: true)
            .run(jobs.config("plan"), LoopbackCommunicator(), Reporter(isSpeaking: false))
        let quantized = ["quantization.weights.bits=4", "quantization.activations.bits=8", "model.dense=true"]
        let rotated = try jobs.run(RotateJob(), "rotate", quantized)
        #expect((rotated["invariance_error"]?.number ?? 1) < 1e-5)
        #expect(try CompressedFolder(jobs.folder.file("rotate/model")).folder.packed?.weights.count == 4)
        let scored = try jobs.run(EvaluateJob(), "eval-integers", model: "rotate/model")
        #expect(scored["perplexity"]?["compressed"]?.number == rotated["perplexity"]?["written"]?.number)
        #expect(scored["products"]?["packed_integer"]?.integer == 4 && rotated["products"] == scored["products"])
    }

    @Test func `a foreign family's rotated folder gives its logits`() throws {
        let jobs = try ForeignJobs()
        _ = try jobs.run(RotateJob(), "rotate")
        let original = try ModelFolder(jobs.folder.file("model"))
        let merged = try ModelFolder(jobs.folder.file("rotate/model"))
        let tokens = (0..<16).map { Int32($0 * 5 % 48) }
        let logits = original.description.model(positions: 16).logits(tokens, try original.parameters())
        let same = merged.description.model(positions: 16).logits(tokens, try merged.parameters())
        #expect(maxDifference(logits, same) <= 1e-4 * logits.maxMagnitude)
    }

    @Test func `a foreign family is decomposed, and its factors are a model`() throws {
        let jobs = try ForeignJobs()
        let ternary = try jobs.run(PtqJob(), "ptq", ["model.dense=true"])
        #expect(ternary["layers"]?.array?.count == 4)
        let again = try jobs.run(EvaluateJob(), "eval-factors", model: "ptq/model")
        #expect(again["perplexity"]?["compressed"]?.number == ternary["perplexity"]?["ternary_ptq"]?.number)
        #expect(again["products"]?["packed_ternary"]?.integer == 4 && ternary["products"] == again["products"])
        let packed = try CompressedFolder(jobs.folder.file("ptq/model"))
        let dense = try ModelFolder(jobs.folder.file("ptq/dense"))
        #expect(packed.folder.packed?.form == "ternary factors (4 linears)" && dense.packed == nil)
        #expect(throws: (any Error).self) { try jobs.run(PtqJob(), "ptq-again", model: "ptq/model") }
    }

    @Test func `factors given for a ternary folder, or a trained one, are counted instead of its own`() throws {
        let jobs = try ForeignJobs()
        let fine = try jobs.run(PtqJob(), "ptq", ["ternary.tolerance=0.1", "ternary.layers=*widen"])
        try FileManager.default.moveItem(atPath: jobs.folder.file("ptq"), toPath: jobs.folder.file("fine"))
        let coarse = try jobs.run(PtqJob(), "ptq", ["ternary.tolerance=0.5", "ternary.layers=*widen"])
        let given = "ternary.path=\(jobs.folder.file("ptq/ternary.safetensors"))"
        let both = try jobs.run(EvaluateJob(), "eval", model: "fine/model", [given])
        let bits = both["bits_per_weight"]?.number
        #expect(both["products"]?["packed_ternary"]?.integer == 2 && both["model_bytes"] != fine["model_bytes"])
        #expect(bits == coarse["bits_per_weight"]?.number && bits != fine["bits_per_weight"]?.number)
        #expect(both["rows"]?.array?.first?["label"]?.string == "ternary factors (2 linears), with the factors given")
        let trained = try jobs.run(
            EvaluateJob(), "eval-trained", [given, "eval.trained=\(jobs.folder.file("fine/model"))", "eval.compare=false"])
        #expect(trained["bits_per_weight"]?.number == bits)
    }

    @Test func `rotations that are fixed are merged and scored without steps`() throws {
        let jobs = try ForeignJobs()
        let fixed = try jobs.run(RotateJob(), "rotate", ["rotation.r1=hadamard", "rotation.r2=none"])
        #expect(fixed["steps"]?.integer == 0 && fixed["loss"] == nil && fixed["perplexity"]?["hadamard"]?.number != nil)
        #expect(try InputFile(jobs.folder.file("rotate/metrics.jsonl")).size == 0)
    }

    @Test(arguments: [
        (["quantize.transform=learned", "rotation.r1=hadamard", "rotation.r2=none"], "learned has nothing to learn"),
        (["quantize.transform=hadamard", "rotation.r1=none", "rotation.r2=none"], "hadamard has nothing to rotate by"),
    ])
    func `a transform that would change nothing is refused`(_ settings: [String], _ words: String) throws {
        let jobs = try ForeignJobs()
        let error = #expect(throws: AgreedError.self) {
            try jobs.run(QuantizeJob(), "quantize", ["quantization.weights.bits=4"] + settings)
        }
        #expect(error?.description.contains(words) == true && error?.exitCode == .configuration)
    }

    @Test func `a foreign family is quantized, by any recipe, and runs in integers`() throws {
        let jobs = try ForeignJobs()
        let inputs = ["quantization.weights.bits=4", "quantization.activations.bits=8", "calibration.sequences=4"]
        let integers = try jobs.run(QuantizeJob(), "quantize", inputs + ["quantization.weights.method=gptq"])
        let searched = try jobs.run(QuantizeJob(), "quantize-auto", inputs + ["quantize.recipe=auto"])
        #expect(searched["recipes"]?.array?.count == 6)
        let counted = try jobs.run(EvaluateJob(), "eval-in-integers", model: "quantize/model", ["eval.product=integer"])
        let float = try #require(integers["perplexity"]?["quantized"]?.number)
        let integer = try #require(counted["perplexity"]?["compressed"]?.number)
        #expect(abs(float - integer) <= 1e-4 * float && counted["product"]?.string == "integer")
    }
}

/// Jobs on a model of the family below.
private struct ForeignJobs {
    let folder: TemporaryFolder

    init() throws {
        ModelRegistry.register(ForeignFamily.self)
        folder = try TemporaryFolder()
        try ForeignFamily.write(to: folder.file("model"))
        try ForeignFamily.writeTokens(to: folder.file("data.safetensors"))
    }

    func config(_ job: String, model: String = "model", _ more: [String] = []) throws -> RunConfig {
        try SettingsRequest(
            assignments: [
                "model.path=\(folder.file(model))", "data.train.path=\(folder.file("data.safetensors"))",
                "data.eval.path=\(folder.file("data.safetensors"))", "data.sequence_length=16", "training.steps=2",
                "training.batch_size=2", "ternary.tolerance=0.3", "out=\(folder.file(job))",
            ] + more
        ).configuration(job: job.hasPrefix("eval") ? "eval" : job.hasPrefix("quantize") ? "quantize" : job)
    }

    /// What the job says in `summary.json`.
    func run(_ job: some Job, _ name: String, model: String = "model", _ more: [String] = []) throws -> JSONValue {
        try job.run(
            JobContext(
                config: try config(name, model: model, more), groups: try ParallelGroups(.alone, LoopbackCommunicator()),
                folder: RunFolder(folder.file(name), isWriter: true), reporter: Reporter(isSpeaking: false)))
        return try InputFile.json(folder.file(name) + "/summary.json")
    }
}

/// A family that only this file knows: blocks of a norm, a linear, ReLU and a linear, under names of its own.
private struct ForeignFamily: ModelFamily {
    static let modelTypes: Set<String> = ["foreign"]
    private static let (width, inner, vocabulary, depth) = (32, 64, 48, 2)

    static func configuration(_ keys: HFConfig) throws(FileError) -> Bool {
        try keys.bool("tie_word_embeddings", default: true)
    }

    static func architecture(_ isTied: Bool) -> Architecture {
        let block =
            [ParameterSpec("scale", [width], .gain)]
            + linearSpecs("widen", inner, width, bias: false, reads: .mlpInput)
            + linearSpecs("narrow", width, inner, bias: true, reads: .downInput, writes: .mlpResidual)
        return Architecture(
            type: "foreign", summary: "a foreign family", hiddenSize: width, vocabularySize: vocabulary, maximumPositions: 64,
            entry: [ParameterSpec("words", [vocabulary, width], .embedding)],
            blocks: (0..<depth).map {
                Architecture.Block(
                    layer: $0, prefix: "floor\($0).", parameters: block, norms: [.init(gain: "scale", output: .mlpInput)])
            },
            exit: [ParameterSpec("answers", [vocabulary, width], .head)], norms: [], tiesHead: isTied)
    }

    init(_ configuration: Bool, positions: Int) {}

    func enter(
        _ tokens: [Int32], _ entry: ParameterGroup<Variable>, context: some AttentionContext, hooks: some HookTransform,
        on tape: Tape
    ) -> Variable {
        hooks.transform(tape.embedding(tokens, table: entry.required("words")), at: .embedding, block: nil, on: tape)
    }

    func block(
        _ x: Variable, _ index: Int, _ parameters: ParameterGroup<Variable>, context: some AttentionContext,
        hooks: some HookTransform,
        on tape: Tape
    ) -> Variable {
        func hook(_ x: Variable, _ point: HookPoint) -> Variable { hooks.transform(x, at: point, block: index, on: tape) }
        let input = hook(tape.rmsNorm(x, gain: parameters.required("scale"), epsilon: 1e-5), .mlpInput)
        let inner = hook(tape.relu(tape.linear(input, parameters.linear("widen"))), .downInput)
        return tape.add(x, hook(tape.linear(inner, parameters.linear("narrow")), .mlpResidual))
    }

    func exit(_ x: Variable, _ exit: ParameterGroup<Variable>, hooks: some HookTransform, on tape: Tape) -> Variable {
        hooks.transform(x, at: .headInput, block: nil, on: tape)
    }

    static func write(to folder: String) throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try AtomicFile.write(#"{"model_type": "foreign", "tie_word_embeddings": true}"#, to: folder + "/config.json")
        var random = RandomStream(seed: 5)
        let parameters = architecture(true).parameters().map { _, spec in
            Tensor(normal: spec.shape, deviation: 0.5, from: &random)
        }
        try Checkpoint.write(parameters.named.map { TensorSource($0.name, $0.value) }, to: folder)
    }

    static func writeTokens(to path: String) throws {
        let tokens = TensorSource("input_ids", integers: (0..<128).map { $0 * 7 % 48 }, [8, 16])
        try SafetensorsFile.write([tokens], to: path)
    }
}
