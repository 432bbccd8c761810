import Configuration
import HuggingFace
import Models
import Support
import TestSupport
import Testing

@testable import Runs

@Suite struct ModelCardTests {
    private func card(
        _ settings: [String], isShared: Bool = true, activations: Int = 16, isPacked: Bool = true, isCopy: Bool = false,
        sharedFormat: ExportFormat? = nil, ranks: Int = 1, earlier: [String] = []
    ) throws -> ModelCard {
        var results = JSONObject()
        results["rows"] = [
            ["label": "full precision", "perplexity": 20.5, "bits_per_weight": 16.0],
            [
                "label": "as written", "perplexity": 21.25, "kl_divergence": 0.5, "bits_per_weight": 4.25,
                "bits": ["weights": 4, "activations": .integer(activations), "keys": 16, "values": 16],
            ],
        ]
        return ModelCard(
            job: "quantize", try SettingsRequest(assignments: settings).configuration(job: "quantize"), source: "models/small",
            sourceDigest: "ab12", results,
            windows: "8 windows of 256 tokens of test.txt", isShared: isShared, sharedFormat: sharedFormat, isPacked: isPacked,
            isCopy: isCopy, ranks: ranks, earlier: earlier)
    }

    @Test func `a run in unlike parts has a command that alone does not repeat it`() throws {
        let card = try card([], earlier: ["the first 2 steps were taken on 4 × 1 (replicas × stages)"])
        #expect(card.json["earlier_steps"]?.array?.count == 1)
        #expect(card.text.contains("which alone does not repeat it, since the first 2 steps were taken on 4 × 1"))
        let whole = try self.card([])
        #expect(whole.json["earlier_steps"] == nil && !whole.text.contains("alone"))
    }

    @Test func `the command has what was set, as a shell takes it, and gives the same settings`() throws {
        let record = try card(["quantization.weights.bits=3", "ternary.layers=*.mlp.*", "out=runs/x"]).json
        #expect(
            record["command"]?.string
                == "sq-train quantize models/small --set quantization.weights.bits=3 --set 'ternary.layers=*.mlp.*'")
    }

    /// `quantize` leaves inputs and cache as they are unless told, other jobs do not.
    @Test(arguments: [
        ("quantize", ["quantization.activations.bits=4", "quantization.kv.bits=4"]),
        ("quantize", ["quantization.activations.bits=8", "quantize.online=true", "quantize.transform=hadamard"]),
        ("quantize", ["quantization.activations.bits=16", "quantization.kv.bits=16", "quantization.weights.method=gptq"]),
        ("quantize", ["quantization.kv.key_bits=4", "quantization.kv.value_bits=16"]),
        ("rotate", ["quantization.activations.bits=4", "quantization.kv.bits=4"]),
        ("rotate", ["quantization.activations.bits=16"]), ("ptq", ["ternary.bits=2", "ternary.weighting=both"]),
    ])
    func `the command's settings give its job the same configuration`(_ job: String, _ settings: [String]) throws {
        let config = try SettingsRequest(assignments: settings + ["quantization.weights.bits=4"]).configuration(job: job)
        let assignments = config.assignments(job: job)
        #expect(try SettingsRequest(assignments: assignments).configuration(job: job).values == config.values)
        #expect(assignments.count <= 8)
    }

    @Test func `the check reads the text as the job did, and there is none without a text`() throws {
        let text = try card(["data.eval.path=a.jsonl", "data.bos=sequence", "data.field=body", "data.eval.windows=8"]).text
        #expect(text.contains("--set data.bos=sequence") && text.contains("--set data.field=body"))
        #expect(text.contains("data.eval.windows=8") && text.contains("data.sequence_length=256"))
        #expect(try !card(["data.bos=sequence"]).text.contains("Check it with"))
    }

    @Test func `a reader is told from where relative paths lead`() throws {
        let text = try card(["data.eval.path=texts/a.txt"]).text
        #expect(text.contains("quantize models/small --set data.eval.path=texts/a.txt"))
        #expect(text.contains("\nrelative ones from where the command was run"))
    }

    @Test func `more ranks are a part of the command`() throws {
        let record = try card(["quantization.weights.bits=3"], ranks: 2).json
        #expect(record["command"]?.string == "mpirun -n 2 sq-train quantize models/small --set quantization.weights.bits=3")
    }

    @Test func `zero points are said to need the padded form in transformers`() throws {
        let symmetric = try card(["quantization.weights.bits=4"]).text
        #expect(symmetric.contains("transformers loads the folder as it is") && !symmetric.contains("padded"))
        let other = try card(["quantization.weights.bits=4", "quantization.weights.symmetric=false"]).text
        #expect(!other.contains("loads the folder as it is") && other.contains("--format compressed-tensors-padded"))
    }

    @Test func `floats promise no number of inputs that they do not round`() throws {
        let floats = try card([], activations: 4, isPacked: false)
        #expect(floats.json["expected"] == nil && floats.text.contains("are not rounded here"))
        let plain = try card([], isPacked: false)
        #expect(plain.json["expected"] != nil && !plain.text.contains("not rounded"))
    }

    @Test func `what to expect is the last row, with its windows and the choice of BOS`() throws {
        let expected = try card(["data.bos=sequence"]).json["expected"]
        #expect(expected?["perplexity"]?.number == 21.25 && expected?["bos"]?.string == "sequence")
        #expect(expected?["windows"]?.string == "8 windows of 256 tokens of test.txt")
    }

    @Test func `the card of a folder that only this program runs sends to no other`() throws {
        #expect(try card([]).text.contains("library_name: transformers"))
        let own = try card([], isShared: false).text
        #expect(!own.contains("--format compressed-tensors") && own.contains("--format huggingface"))
        let other = try card([], isShared: false, activations: 8, sharedFormat: .rotatingCompressedTensors).text
        #expect(other.contains("sq-train export FOLDER --format compressed-tensors-transforms --out OTHER"))
        #expect(!own.contains("library_name") && own.contains("| as written | 4.25 | 16, 16, 16 | 21.25 | 0.5000 |"))
    }

    @Test(arguments: [4, 16]) func `a copy in floats says so, and promises no number of inputs that it does not round`(
        _ activations: Int
    ) throws {
        let copy = try card([], activations: activations, isCopy: true)
        #expect(copy.text.contains("The weights of `model/` as floats"))
        #expect(copy.text.contains("are not rounded here") == (activations < 16))
        #expect((copy.json["expected"] == nil) == (activations < 16))
        #expect(try !card([], activations: activations).text.contains("as floats"))
    }

    @Test func `both files are in the folder`() throws {
        let folder = try TemporaryFolder()
        try makeFolder(folder.file("model"))
        try card([]).write(to: folder.file("model"))
        #expect(try InputFile.json(folder.file("model/provenance.json"))["source_sha256"]?.string == "ab12")
        #expect(PathKind(folder.file("model/README.md")) == .file)
    }
}
