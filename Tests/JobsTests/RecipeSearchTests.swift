import Collectives
import Compression
import HuggingFace
import Models
import Parallelism
import Quantization
import Support
import TensorCore
import TestSupport
import Testing

@testable import Configuration
@testable import Jobs
@testable import Runs

/// `quantize` that chooses how.
@Suite struct RecipeSearchTests {
    private func quantize(_ folder: TemporaryFolder, _ name: String, _ settings: [String]) throws -> JSONValue {
        let config = try SettingsRequest(
            assignments: [
                "data.sequence_length=48", "data.sampled_sequences=24", "data.eval.windows=4", "calibration.sequences=16",
                "quantize.held_out=8", "out=\(folder.file(name))",
            ] + settings
        ).configuration(job: "quantize")
        try QuantizeJob().run(
            JobContext(
                config: config, groups: try ParallelGroups(.alone, LoopbackCommunicator()),
                folder: RunFolder(folder.file(name), isWriter: true), reporter: Reporter(isSpeaking: false)))
        return try InputFile.json(folder.file(name) + "/summary.json")
    }

    /// Where activations keep their bits, rotations learn from the weights; where not, from the calibration text.
    @Test(arguments: [("16", "16"), ("4", "4")])
    func `the recipe written diverges least of all that were tried`(_ activations: String, _ cache: String) throws {
        let folder = try TemporaryFolder()
        let result = try quantize(
            folder, "auto",
            [
                "quantize.recipe=auto", "quantization.weights.bits=3", "quantization.activations.bits=\(activations)",
                "quantization.kv.bits=\(cache)",
            ])
        let recipes = try #require(result["recipes"]?.array)
        #expect(
            recipes.compactMap { $0["key"]?.string }
                == ["stored_rtn", "stored_gptq", "smooth_rtn", "smooth_gptq", "rotated_rtn", "rotated_gptq"])
        let divergences = recipes.compactMap { $0["kl_divergence"]?.number }
        #expect(divergences.count == 6)
        let written = recipes.indices.filter { recipes[$0]["verdict"]?.string == "written" }
        let place = try #require(written.first)
        #expect(written.count == 1)
        // Never worse than the simple ones; of the others, as near as the margin.
        #expect(divergences[place] <= min(divergences[0], divergences[1]))
        #expect(divergences.allSatisfy { $0 >= divergences[place] * 0.9 })
        for (index, recipe) in recipes.enumerated() where index != place {
            #expect(recipe["verdict"]?.string?.hasPrefix("KL ") == true)
        }
        for recipe in recipes { #expect((0...1).contains(try #require(recipe["top1_agreement"]?.number))) }
        // What is written is the network that was found: the table's row is of the folder read back.
        let label = try #require(recipes[place]["label"]?.string)
        #expect(result["rows"]?.array?.last?["label"]?.string == "\(label), as written")
    }

    @Test(arguments: [
        ["quantization.weights.method=gptq"], ["quantize.transform=smoothquant"], ["quantize.rotation=hadamard"],
    ]) func `what the search decides is not given as well`(_ settings: [String]) throws {
        #expect(throws: ConfigurationError.self) {
            try RunConfig(assignments: ["quantize.recipe=auto"] + settings).check(job: .quantize)
        }
    }

    /// The embedded model has a head of its own; of a tied one, both are one matrix.
    @Test func `embedding and head are rounded when asked for`() throws {
        let folder = try TemporaryFolder()
        let settings = ["quantization.weights.bits=4", "quantization.activations.bits=16", "quantization.kv.bits=16"]
        let plain = try quantize(folder, "plain", settings)
        let small = try quantize(
            folder, "small", settings + ["quantization.head_bits=8", "quantization.embedding_bits=8"])
        func number(_ result: JSONValue, _ key: String) throws -> Double { try #require(result[key]?.number) }
        // 2 tables of 2048 × 256: from 2 bytes an entry to 1, with a scale of 4 bytes a row.
        #expect(try number(plain, "model_bytes") - number(small, "model_bytes") == Double(2 * 2048 * (256 - 4)))
        #expect(try number(plain, "bits_per_weight") == number(small, "bits_per_weight"))
        let divergences = try [plain, small].map { try #require($0["rows"]?.array?.last?["kl_divergence"]?.number) }
        #expect(divergences[0] != divergences[1] && abs(divergences[0] - divergences[1]) < 0.1 * divergences[0])
        let tied = GoldenSuite.testsFolder + "/Golden/llama/llama_tied_hf"
        let error = #expect(throws: AgreedError.self) {
            try quantize(folder, "tied", settings + ["model.path=\(tied)", "quantization.head_bits=8"])
        }
        #expect(error?.description.contains("quantization.head_bits") == true)
        // transformers multiplies the codes of such a head.
        _ = try quantize(
            folder, "both",
            settings + ["model.path=\(tied)", "quantization.head_bits=8", "quantization.embedding_bits=8"])
        let opened = try CompressedFolder(folder.file("both/model"))
        #expect(!opened.isShared)
        #expect(try SharedForm.obstacle(opened, rotates: false)?.contains("serves as head") == true)
    }

    @Test(arguments: [("absmax", "symmetric=true"), ("zero-point", "symmetric=false")])
    func `every way to choose integers that is registered can be asked for, and says what it needs`(
        _ method: String, _ needed: String
    ) throws {
        let settings = ["quantization.weights.bits=4", "quantization.weights.method=\(method)"]
        let opposite = needed.hasSuffix("true") ? "symmetric=false" : "symmetric=true"
        for (given, asked) in [(opposite, needed), (needed, "clip=none")] {
            #expect {
                try RunConfig(assignments: settings + ["quantization.weights.\(given)"]).check(job: .quantize)
            } throws: {
                "\($0)".contains("\(method) needs quantization.weights.\(asked)")
            }
        }
        let folder = try TemporaryFolder()
        let whole = settings + ["quantization.weights.clip=none", "quantization.weights.\(needed)"]
        let result = try quantize(folder, method, whole + ["model.dense=true"])
        #expect(result["method"]?.string == method)
        #expect(result["rows"]?.array?.last?["label"]?.string == "\(method), as written")
        // Who has made what.
        for name in ["model", "dense"] {
            let path = folder.file("\(method)/\(name)")
            #expect(PathKind("\(path)/README.md") == .file)
            let metadata = try SafetensorsFile("\(path)/model.safetensors").metadata
            #expect(metadata == ["format": "pt", "program": ProgramVersion.name])
        }
        // Symmetric, these are the integers of plain rounding.
        let rows = try #require(result["perplexity"]?.object)
        #expect(method != "absmax" || rows["quantized"] == rows["rtn"])
        #expect(throws: ConfigurationError.self) { try RunConfig(assignments: whole).check(job: .eval) }
    }

    @Test func `GPTQ takes the columns of the largest inputs first where asked, and the folder needs no list of columns`()
        throws
    {
        let folder = try TemporaryFolder()
        let settings = [
            "quantization.weights.bits=3", "quantization.weights.method=gptq", "quantization.weights.granularity=group",
            "quantization.weights.group_size=32",
        ]
        let divergences = try ["false", "true"].map { isOrdered in
            let result = try quantize(
                folder, isOrdered, settings + ["quantization.weights.gptq.activation_order=\(isOrdered)"])
            return try #require(result["kl_divergence"]?["quantized"]?.number)
        }
        // With three seeds the second is 0.98 to 1.25 times the first; columns that lay in another order would be nats away.
        #expect(divergences[0] != divergences[1] && divergences[1] < 1.5 * divergences[0], "\(divergences)")
        let names = try SafetensorsFile(folder.file("true/model/model.safetensors")).names
        #expect(!names.contains { $0.hasSuffix("g_idx") })
        let damped = try quantize(folder, "damped", settings + ["quantization.weights.gptq.damping=0.5"])
        #expect(damped["kl_divergence"]?["quantized"]?.number != divergences[0])
    }

    @Test func `the setting's names are those registered, and the one of weights that are integers already`() {
        #expect(
            WeightMethod.expectation == "one of \((WeightQuantizations.names + ["stored"]).joined(separator: ", "))")
        for name in WeightQuantizations.names { #expect(WeightMethod(settingText: name)?.quantization?.name == name) }
        #expect(WeightMethod(settingText: "stored")?.quantization == nil && WeightMethod(settingText: "awq") == nil)
    }

    /// Eight bits are so many that what a transform changed besides the rounding would show.
    @Test(arguments: QuantizeSettings.Transform.allCases)
    func `each transform can be asked for by name, and leaves the function as it is`(
        _ transform: QuantizeSettings.Transform
    ) throws {
        let folder = try TemporaryFolder()
        let settings = ["quantization.weights.bits=8", "quantization.activations.bits=8"]
        let result = try quantize(folder, "run", settings + ["quantize.transform=\(transform.rawValue)"])
        let entry = ModelTransforms.named(transform)
        let written = try #require(result["rows"]?.array?.last)
        #expect(written["label"]?.string == (entry.method == nil ? "as written" : "\(entry.label), as written"))
        #expect(result["method"]?.string == [entry.method, "rtn"].compactMap(\.self).joined(separator: ", "))
        #expect(try #require(result["kl_divergence"]?["quantized"]?.number) < 0.01)
    }

    @Test func `balanced channels leave the function as it is, with a transform and in a search`() throws {
        let folder = try TemporaryFolder()
        let settings = ["quantization.weights.bits=8", "quantization.activations.bits=8", "quantize.balance=true"]
        let result = try quantize(folder, "run", settings + ["quantize.transform=hadamard", "quantize.online=true"])
        #expect(result["rows"]?.array?.last?["label"]?.string == "balanced, Hadamard, as written")
        #expect(result["method"]?.string == "channel balance, fixed rotations, rtn")
        #expect(try #require(result["kl_divergence"]?["quantized"]?.number) < 0.01)
        let searched = try quantize(folder, "auto", settings + ["quantize.recipe=auto"])
        #expect(try #require(searched["kl_divergence"]?["quantized"]?.number) < 0.01)
        let label = try #require(searched["rows"]?.array?.last?["label"]?.string)
        #expect(label.hasPrefix("balanced, ") && label.hasSuffix(", as written"))
        // Alone it is a transform like the others.
        let alone = try quantize(folder, "alone", settings)
        let named = try quantize(folder, "named", Array(settings.dropLast()) + ["quantize.transform=balance"])
        for key in ["rows", "method", "perplexity", "kl_divergence"] { #expect(named[key] == alone[key] && named[key] != nil) }
        #expect(throws: ConfigurationError.self) {
            try RunConfig(assignments: settings + ["quantize.transform=balance"]).check(job: .quantize)
        }
    }

    @Test func `dense/ needs nothing online, whatever model/ does`() throws {
        let folder = try TemporaryFolder()
        let settings = ["quantization.weights.bits=8", "quantize.transform=hadamard", "model.dense=true"]
        let tokens = (1..<40).map { Int32($0) }
        let logits = try [false, true].map { online in
            let run = "online-\(online)"
            _ = try quantize(folder, run, settings + ["quantize.online=\(online)"])
            let dense = try ModelFolder(folder.file("\(run)/dense"))
            return dense.description.model(positions: 64).logits(tokens, try dense.parameters())
        }
        #expect(maxDifference(logits[0], logits[1]) < 0.02 * logits[0].maxMagnitude)
    }

    @Test func `rotations at run time go with some that are merged`() throws {
        for transform in ["none", "smoothquant", "balance"] {
            #expect(throws: ConfigurationError.self) {
                try RunConfig(assignments: ["quantize.online=true", "quantize.transform=\(transform)"]).check(job: .quantize)
            }
        }
        for more in ["quantize.transform=hadamard", "rotation.path=run", "quantize.recipe=auto"] {
            try RunConfig(assignments: ["quantize.online=true", more]).check(job: .quantize)
        }
    }

    @Test func `a range for the token is what leaves as transform_config`() throws {
        let folder = try TemporaryFolder()
        let settings = ["quantization.activations.bits=8", "quantize.transform=hadamard", "quantize.online=true"]
        for isShared in [false, true] {
            _ = try quantize(
                folder, "\(isShared)",
                settings + ["quantization.weights.bits=4", "quantization.activations.head_ranges=\(!isShared)"]
                    + (isShared ? ["export.formats=compressed-tensors-transforms"] : []))
            let execution = try CompressedFolder(folder.file("\(isShared)/model")).execution
            #expect(execution.r4 && execution.activationPerHead != isShared)
        }
        // Known before the work starts.
        for (more, reason) in [
            (["export.formats=compressed-tensors-transforms"], "quantization.activations.head_ranges=false"),
            (["export.formats=huggingface"], "quantize weights alone"),
            (
                ["export.formats=compressed-tensors", "quantize.online=false", "quantization.kv.bits=4"],
                "quantization.kv.bits=16"
            ),
        ] {
            let error = #expect(throws: (any Error).self) {
                try quantize(folder, "refused", settings + ["quantization.weights.bits=4"] + more)
            }
            let text = error.map { "\($0)" } ?? ""
            #expect(text.contains("export.formats") && text.contains(reason), "\(text)")
        }
        #expect(PathKind(folder.file("refused/model")) == .absent)
        let exported = try CompressedFolder(folder.file("true/exports/compressed-tensors-transforms"))
        #expect(try exported.execution == CompressedFolder(folder.file("true/model")).execution && exported.isShared)
    }

    @Test func `rotations of a file and another transform are not both meant`() throws {
        for transform in ["hadamard", "smoothquant"] {
            #expect(throws: ConfigurationError.self) {
                try RunConfig(assignments: ["rotation.path=run", "quantize.transform=\(transform)"]).check(job: .quantize)
            }
        }
    }
}
