import LinearAlgebra
import Parallelism
import Quantization
import Support
import TestSupport
import Testing

@testable import Configuration

@Suite struct ConfigurationTests {
    private func problem(_ yaml: String = "", _ assignments: String...) -> String {
        do {
            _ = try RunConfig(yaml: yaml, assignments: assignments)
            return "accepted"
        } catch let error as ConfigurationError {
            #expect(error.exitCode == .configuration)
            #expect(!error.description.contains("\n"))
            return error.description
        } catch {
            return "another error: \(error)"
        }
    }

    @Test func `quantize rounds weights alone, to 4 bits, unless bits are given`() throws {
        func bits(_ given: [String], job: String = "quantize") throws -> [Int] {
            let quantization = try SettingsRequest(assignments: given).configuration(job: job).quantization
            return [quantization.weights.bits, quantization.activations.bits, quantization.kv.keys, quantization.kv.values]
        }
        #expect(try bits([]) == [4, 16, 16, 16])
        #expect(try bits(["quantization.weights.bits=3", "quantization.activations.bits=8"]) == [3, 8, 16, 16])
        #expect(try bits(["quantization.kv.bits=8"]) == [4, 16, 8, 8])
        #expect(try bits([], job: "rotate") == [16, 4, 4, 4])
    }

    @Test func `without a file every key has its default`() throws {
        let config = try RunConfig()
        #expect(config.training.steps == 100)
        #expect(config.training.batchSize == 8)
        #expect(config.data.sequenceLength == 256)
        #expect(config.quantization.activations == .init(bits: 4, symmetric: false, symmetricRange: .full))
        #expect(config.quantization.weights.bits == 16)
        #expect(config.rotation.gradient == .range)
        #expect(config.model.path == nil)
        #expect(config.descriptions.allSatisfy { $0.value == $0.defaultValue })
    }

    @Test func `an assignment wins over the file, and the last assignment over the others`() throws {
        let config = try RunConfig(
            yaml: "training:\n  steps: 3\n  seed: 4\n", assignments: ["training.steps=5", "training.steps=6"])
        #expect(config.training.steps == 6)
        #expect(config.training.seed == 4)
    }

    @Test func `an assignment may hold an equals sign`() throws {
        #expect(try RunConfig(assignments: ["model.path=a=b"]).model.path == "a=b")
    }

    @Test func `the printed configuration reads back as the same one`() throws {
        let awkward = [
            "model.path=a: \"b\" # \\ é\u{2028}&\u{FFFE}\u{FFFF}", "out=123", "data.train.path=- x", "data.eval.path=true",
            "training.seed=7",
        ]
        for assignments in [[], awkward, ["verify.tolerance=1e-07", "rotation.momentum=0.9", "data.eval.windows=all"]] {
            let config = try RunConfig(assignments: assignments)
            let again = try RunConfig(yaml: config.yaml)
            #expect(again == config)
            #expect(again.yaml == config.yaml)
        }
    }

    @Test func `a configuration sent to another process arrives as it is, and half of one is refused`() throws {
        let config = try RunConfig(assignments: ["model.path=a: \"b\" # \\ é\u{2028}&", "out=1=2", "training.seed=7"])
        #expect(try RunConfig(encoded: config.encoded) == config)
        let cut = try #require(config.encoded.lastIndex(of: "\0"))
        #expect(throws: ConfigurationError.self) { try RunConfig(encoded: String(config.encoded[..<cut])) }
    }

    @Test(arguments: ["model.path=a\0b", "eval.tasks=text=a\0b", "ternary.layers=a\0b", "quantization.overrides=a\0b=4"])
    func `a text with a NUL is refused`(assignment: String) {
        #expect(throws: ConfigurationError.self) { try RunConfig(assignments: [assignment]) }
    }

    @Test func `every key can be assigned its own printed value`() throws {
        for key in try RunConfig().descriptions {
            #expect(throws: Never.self) { try RunConfig(assignments: ["\(key.path)=\(key.value)"]) }
        }
    }

    @Test func `every printed key has a comment before it`() throws {
        let lines = try RunConfig().yaml.split(separator: "\n")
        let keys = lines.indices.filter { lines[$0].contains(": ") && !lines[$0].contains("#") }
        #expect(keys.count == (try RunConfig().descriptions.count))
        for key in keys { #expect(lines[key - 1].contains("# ")) }
    }

    @Test func `an unknown key names the nearest known one`() {
        #expect(
            problem("training: {stpes: 3}").contains(
                "configuration:1: unknown key 'training.stpes'; the nearest known one is 'training.steps'"))
        #expect(problem("", "learning_rate=1").contains("'training.learning_rate'"))
        #expect(problem("", "quantization.kv.bit=4").contains("'quantization.kv.bits'"))
    }

    @Test(arguments: [
        ("lr", "training.learning_rate"), ("training.lr", "training.learning_rate"), ("optimizer.lr", "training.learning_rate"),
        ("quantizaton.weights.bits", "quantization.weights.bits"), ("weights.bits", "quantization.weights.bits"),
        ("quantization.weight_bits", "quantization.weights.bits"), ("training.step", "training.steps"),
        ("steps", "training.steps"),
        ("bs", "training.batch_size"), ("training.batchsize", "training.batch_size"),
        ("quantization.weights.symetric", "quantization.weights.symmetric"), ("data.path", "data.train.path"),
    ])
    func `the nearest key has the last component, or its initials, and then the nearest sections`(
        _ given: String, _ meant: String
    ) {
        #expect(problem("", "\(given)=1").contains("the nearest known one is '\(meant)'"))
    }

    @Test(arguments: ["logging.tensorboard", "wandb", "foo.bar.baz", "zzzzzzzz"])
    func `what is near nothing is not likened to anything`(_ given: String) {
        #expect(
            problem("", "\(given)=1").hasSuffix(
                "unknown key '\(given)': there is no such setting; sq-train --print-config lists them"))
    }

    @Test(arguments: [
        "ternary.tolerance=1e-300", "ternary.tolerance=0.999999999", "optimizer.beta2=0.999999999",
        "training.learning_rate=1e-50", "quantization.clip_ratios=key=1e-60", "ternary.prune_rate=1e39",
    ])
    func `a number that single precision makes one out of range is refused, too`(_ setting: String) {
        let text = problem("", setting)
        #expect(text.contains("is not accepted, expected "), "\(text)")
        #expect(text.contains(", in single precision too") != ["key", "e39"].contains { setting.contains($0) }, "\(text)")
    }

    @Test(arguments: ["ternary.tolerance=1e-30", "ternary.bits=0.1", "training.learning_rate=1e-40", "generate.top_p=0.3"])
    func `a number that single precision rounds within its range is accepted`(_ setting: String) {
        #expect(throws: Never.self) { try RunConfig(assignments: [setting]) }
    }

    @Test func `of very many unknown keys the first is told, in no time`() throws {
        let given = (0..<30_000).map { ("training.stpes\($0)", GivenSetting(text: "1", place: "a")) }
        let time = ContinuousClock().measure {
            let error = #expect(throws: ConfigurationError.self) {
                try RunConfig(Dictionary(uniqueKeysWithValues: given))
            }
            #expect(error?.description.contains("'training.stpes0'; the nearest known one is 'training.steps'") == true)
        }
        #expect(time < .seconds(10))
    }

    private static let contradictions: [(ModelJob, [String], String)] = [
        (.rotate, ["training.precision=bfloat16", "rotation.objective=weights"], "kl or ce), but weights makes none"),
        (.rotate, ["rotation.objective=range", "rotation.train_weight_bits=4"], "range rounds no weights"),
        (.rotate, ["rotation.objective=whip", "rotation.pretrain_steps=3"], "whip runs no backward pass"),
        (.rotate, ["rotation.objective=weights", "rotation.starts=2"], "rotation.objective=weights uses none"),
        (.rotate, ["rotation.starts=2", "rotation.path=R.bin"], "rotation.path gives the start"),
        (.rotate, ["quantization.weights.method=gptq"], "rotate rounds to nearest"),
        (.rotate, ["quantization.weights.method=stored"], "stored is for eval"),
        (.quantize, ["rotation.path=run", "quantize.transform=hadamard"], "rotation.path gives rotations"),
        (.quantize, ["quantize.recipe=auto", "quantization.weights.method=gptq"], "recipe=auto chooses it"),
        (.quantize, ["quantize.online=true"], "rotates nothing here"),
        (.train, ["model.storage=bf16"], "(rotate, quantize, eval), and train changes them"),
        (.ptq, ["model.storage=bf16"], "(rotate, quantize, eval), and ptq changes them"),
        (.qat, ["model.storage=file"], "(rotate, ptq, quantize, eval), and qat changes them"),
    ]

    /// Files of settings serve several jobs.
    @Test(arguments: contradictions.indices) func `settings that contradict each other are refused by the job that uses them`(
        _ index: Int
    ) throws {
        let (own, settings, reason) = Self.contradictions[index]
        let config = try RunConfig(assignments: settings)
        let error = #expect(throws: ConfigurationError.self) { try config.check(job: own) }
        #expect(error?.description.contains(reason) == true, "\(error?.description ?? "")")
        if settings[0].hasPrefix("model.storage") { return }
        let isOfWeights = settings.count == 1 && settings[0].hasPrefix("quantization.weights.method")
        for job in ModelJob.allCases where job != own {
            // quantize and eval round weights, too; a search for a recipe is quantize's alone.
            if isOfWeights, [.quantize, .eval].contains(job) { continue }
            if settings.contains("quantization.weights.method=gptq"), [.rotate, .eval].contains(job) { continue }
            #expect(throws: Never.self, "\(job)") { try config.check(job: job) }
        }
    }

    @Test func `a way to round weights is refused by jobs that round them in another`() throws {
        let config = try RunConfig(assignments: ["quantization.weights.method=gptq", "qat.method=integer"])
        for job in [ModelJob.rotate, .qat, .eval] {
            let error = #expect(throws: ConfigurationError.self) { try config.check(job: job) }
            #expect(error?.description.contains("\(job.rawValue) rounds to nearest") == true)
        }
    }

    @Test func `a section where a key is expected says what is in it`() {
        #expect(problem("training: 3").contains("'training', which is a section; its keys are training.steps"))
    }

    @Test(arguments: [
        ("training.steps=0", "an integer from 1"), ("training.steps=1.5", "an integer"), ("training.steps=", "an integer"),
        ("training.steps=99999999999999999999", "an integer"), ("training.learning_rate=nan", "a number"),
        ("training.learning_rate=inf", "a number"), ("training.learning_rate=1e999", "a number"),
        ("training.learning_rate=0x10", "a number"), ("training.learning_rate=-1", "greater than 0"),
        ("training.recompute=yes", "true or false"), ("training.schedule=cos", "constant, linear, cosine"),
        ("quantization.activations.bits=9", "2, 3, 4, 5, 6, 7, 8, 16"), ("rotation.r4=learned", "hadamard, none"),
        ("ternary.tolerance=1", "less than 1"), ("ternary.threshold=0", "greater than 0"),
        ("rotation.momentum=1", "less than 1"),
        ("parallel.data=0", "an integer from 1"), ("model.path=", "a text"), ("data.sampled_sequences=0", "from 1"),
    ])
    func `a value outside its rule is refused with what is expected`(_ assignment: String, _ expectation: String) {
        let problem = problem("", assignment)
        #expect(problem.hasPrefix("--set \(assignment): "))
        #expect(problem.contains(expectation))
    }

    @Test func `inputs are compared with the full-precision network's only in sequence`() throws {
        func compensation(_ assignments: String...) throws -> Double? {
            let config = try RunConfig(assignments: ["quantization.weights.method=gptq"] + assignments)
            try config.check(job: .quantize)
            return (config.weightQuantization as? GPTQ)?.compensation
        }
        let (given, apart) = ("quantization.weights.gptq.compensation=0.25", "calibration.mode=full-precision")
        #expect(try compensation() == 0.5 && compensation(given) == 0.25 && compensation(apart) == 0)
        #expect(throws: ConfigurationError.self) { try compensation(given, apart) }
        #expect(throws: ConfigurationError.self) {
            try compensation(given, apart, "quantization.weights.method=rtn", "quantize.recipe=auto")
        }
        // It means nothing to other methods.
        #expect(try compensation(given, apart, "quantization.weights.method=rtn") == nil)
    }

    @Test func `a key can be given by the name it had before, but not by both`() throws {
        let config = try RunConfig(assignments: ["quantize.rotation=hadamard"])
        #expect(config.quantize.transform == .hadamard && config.values["quantize.transform"] == "hadamard")
        #expect(config.values["quantize.rotation"] == nil)
        #expect(throws: ConfigurationError.self) {
            try RunConfig(assignments: ["quantize.rotation=hadamard", "quantize.transform=none"])
        }
        #expect(throws: ConfigurationError.self) { try RunConfig(assignments: ["quantize.rotation=sideways"]) }
        #expect(throws: ConfigurationError.self) { try RunConfig(assignments: ["ternary.bits=2", "ternary.mode=reference"]) }
    }

    @Test func `a key given by the name it had before says what it is called now, from a file or an assignment`() throws {
        let folder = try TemporaryFolder()
        try AtomicFile.write("quantize:\n  rotation: hadamard\n", to: folder.file("old.yaml"))
        func warnings(_ request: SettingsRequest) throws -> [String] {
            var lines: [String] = []
            _ = try request.configuration(job: "quantize") { lines.append($0) }
            return lines
        }
        let known = "quantize.rotation is now called quantize.transform; use that name"
        #expect(try warnings(.init(file: folder.file("old.yaml"))) == ["\(folder.file("old.yaml")):2: \(known)"])
        #expect(
            try warnings(.init(assignments: ["quantize.rotation=none"], model: "a"))
                == ["--set quantize.rotation=none: \(known)"])
        #expect(try warnings(.init(assignments: ["quantize.transform=none"])) == [])
        // One source gives it once; an assignment is over a file, whatever it calls it.
        let both = ["quantize.rotation=none", "quantize.transform=none"]
        #expect(throws: ConfigurationError.self) { try RunConfig(assignments: both) }
        for name in ["rotation", "transform"] {
            let config = try RunConfig(file: folder.file("old.yaml"), assignments: ["quantize.\(name)=none"])
            #expect(config.quantize.transform == .none)
        }
    }

    /// Runs from before there was a choice for every job have recorded the default.
    @Test(arguments: [("true", nil), ("false", false)])
    func `ranges by heads that were usual for quantize are left open`(_ text: String, _ ranges: Bool?) throws {
        #expect(
            try RunConfig(assignments: ["quantize.head_ranges=\(text)"]).quantization.activations.headRanges == ranges)
    }

    @Test(arguments: [(true, SymmetricRange.restricted), (false, .full)])
    func `a recorded configuration without a setting has what it stood for`(_ symmetric: Bool, _ range: SymmetricRange) throws {
        let folder = try TemporaryFolder()
        let path = folder.file("config.yaml")
        for (line, expected) in [("", range), ("\n    symmetric_range: full", .full)] {
            let yaml = "quantization:\n  activations:\n    symmetric: \(symmetric)\(line)\n"
            try AtomicFile.write(yaml, to: path)
            #expect(try RunConfig(recordedIn: path).quantization.activations.symmetricRange == expected)
        }
    }

    @Test func `a layer pattern with two numbers of bits is refused`() {
        #expect(problem("", "quantization.overrides=*.q_proj=8,*=4,*.q_proj=2").contains("each pattern once"))
    }

    @Test func `keys that contradict each other are refused`() {
        #expect(problem("", "training.warmup_steps=101").contains("more than the 100"))
    }

    /// What a job does not follow is not ignored.
    @Test(arguments: ["quantization.overrides=*.down_proj=8", "quantization.head_bits=8", "quantization.embedding_bits=8"])
    func `bits of some weights are refused where a job does not follow them`(_ setting: String) throws {
        let request = SettingsRequest(assignments: [setting, "quantization.weights.bits=4"])
        for job in ["quantize", "eval"] { _ = try request.configuration(job: job) }
        for job in ["rotate", "train", "qat", "ptq"] {
            let error = #expect(throws: ConfigurationError.self) { try request.configuration(job: job) }
            #expect(error?.description.contains("which only quantize") == true, "\(job)")
        }
        let rotated = SettingsRequest(assignments: request.assignments + ["eval.hadamard=true"])
        let error = #expect(throws: ConfigurationError.self) { try rotated.configuration(job: "eval") }
        #expect(error?.description.contains("the network of eval.hadamard has one number of bits") == true)
    }

    @Test(
        arguments: [
            ("rotation.path", ["train", "qat", "ptq"]), ("ternary.path", ["rotate", "train", "quantize"]),
            ("qat.rotations", ["rotate", "train", "ptq", "quantize", "eval"]),
        ])
    func `files that a job would not look at are refused`(_ key: String, _ jobs: [String]) throws {
        for job in jobs {
            let error = #expect(throws: ConfigurationError.self) {
                try SettingsRequest(assignments: ["\(key)=somewhere"]).configuration(job: job)
            }
            #expect(error?.description.contains("\(key): is somewhere, which \(job) does not read") == true, "\(job)")
        }
    }

    @Test func `a finished run is scored by any number of ranks`() throws {
        let folder = try TemporaryFolder()
        try AtomicFile.write(RunConfig(assignments: ["parallel.pipeline=2"]).yaml, to: folder.file("config.yaml"))
        try AtomicFile.write(#"{"job": "ptq"}"#, to: folder.file("summary.json"))
        let (file, assignments) = try RunConfig.reproducing(run: folder.path)
        let config = try SettingsRequest(file: file, assignments: assignments).configuration()
        #expect(config.parallel.pipeline == nil && config.parallel.data == nil)
    }

    @Test func `replicas times stages must be the world size`() throws {
        #expect(try RunConfig().layout(worldSize: 6) == ParallelDims(data: 6, pipeline: 1))
        #expect(try RunConfig(assignments: ["parallel.pipeline=2"]).layout(worldSize: 6) == ParallelDims(data: 3, pipeline: 2))
        #expect(try RunConfig(assignments: ["parallel.data=2"]).layout(worldSize: 6) == ParallelDims(data: 2, pipeline: 3))
        for wrong in [
            ["parallel.data=4"], ["parallel.pipeline=4"], ["parallel.data=2", "parallel.pipeline=2"], ["parallel.data=12"],
        ] {
            #expect(throws: ConfigurationError.self) { try RunConfig(assignments: wrong).layout(worldSize: 6) }
        }
        let error = #expect(throws: ConfigurationError.self) {
            try RunConfig(assignments: ["parallel.data=2"]).layout(worldSize: 1)
        }
        #expect(error?.description.contains("and the job has 1 rank;") == true)
    }

    @Test func `micro-batches keep every stage busy and fit a replica's share`() throws {
        func count(_ assignments: [String], data: Int = 1, pipeline: Int = 1) throws -> Int {
            let dims = ParallelDims(data: data, pipeline: pipeline)
            return try RunConfig(assignments: assignments).microBatches(dims).ranges(8 / data).count
        }
        // 8 sequences of 256 tokens: two a micro-batch, the same on one, two and four stages.
        #expect(try count([]) == 4)
        #expect(try count([], pipeline: 4) == 4)
        #expect(try count([], pipeline: 8) == 8)
        #expect(try count(["parallel.microbatches=8"], pipeline: 2) == 8)
        #expect(try count(["parallel.microbatches=4"], data: 2, pipeline: 4) == 4)
        #expect(throws: ConfigurationError.self) { try count([], pipeline: 9) }
        #expect(throws: ConfigurationError.self) { try count(["parallel.microbatches=2"], pipeline: 4) }
        #expect(throws: ConfigurationError.self) { try count(["parallel.microbatches=9"]) }
        #expect(throws: ConfigurationError.self) { try count(["parallel.microbatches=8"], data: 2) }
    }

    @Test func `edit distance counts insertions, deletions, replacements and swaps`() {
        #expect(editDistance("steps", "steps") == 0)
        #expect(editDistance("stpes", "steps") == 1)
        #expect(editDistance("", "abc") == 3)
        #expect(editDistance("kitten", "sitting") == 3)
    }
}
