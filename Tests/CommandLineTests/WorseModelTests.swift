import Foundation
import Support
import TestSupport
import Testing

extension CommandLineTests {
    /// Training that does a model no good.
    @Suite struct WorseModels {
        private let model: ModelFolder
        init() throws {
            model = try ModelFolder()
            // A model that learns to say 1 all the time has no idea of twos.
            try model.writeTokens(to: "twos.safetensors", except: Dictionary(uniqueKeysWithValues: (0..<64).map { ($0, 2) }))
        }

        /// - Parameter text: to evaluate on; the one to learn from is all ones.
        private func run(_ job: String, evaluatedOn text: String, _ settings: String...) throws -> (
            outcome: Program.Outcome, warnings: Int
        ) {
            let all = settings + ["training.steps=4", "ternary.tolerance=0.3"]
            let outcome = try Program.run(
                job.split(separator: " ").map(String.init) + model.arguments(eval: text) + all.flatMap { ["--set", $0] },
                in: model.path)
            return (outcome, outcome.output.components(separatedBy: "warning: training has made the model worse").count - 1)
        }

        private var improved: JSONValue? { get throws { try InputFile.json(model.file("out/summary.json"))["improved"] } }

        @Test(arguments: ["train", "qat --set qat.method=integer"])
        func `a model that training has made worse is said to be`(_ job: String) throws {
            let (outcome, warnings) = try run(job, evaluatedOn: "twos.safetensors", "training.learning_rate=0.5")
            #expect(outcome.code == 0, "\(outcome.errors)")
            #expect(warnings == 1, "\(outcome.output)")
            #expect(try improved == .bool(false))
        }

        @Test func `one that has become better is not`() throws {
            let (outcome, warnings) = try run("train", evaluatedOn: "data.safetensors", "training.learning_rate=0.01")
            #expect(outcome.code == 0 && warnings == 0, "\(outcome)")
            #expect(try improved == .bool(true))
        }

        /// Steps so large ruin both on a text that they are not learned from; small ones on the text itself help.
        @Test(arguments: [
            Comparison(job: "rotate", start: "hadamard", end: "learned", text: "twos", rate: 0.5, helps: false),
            Comparison(job: "qat", start: "ternary_ptq", end: "ternary_qat", text: "twos", rate: 0.5, helps: false),
            Comparison(job: "qat", start: "ternary_ptq", end: "ternary_qat", text: "data", rate: 0.01, helps: true),
        ]) func `rotations and ternary layers are compared with those that learning began with`(_ given: Comparison) throws {
            let (outcome, warnings) = try run(
                given.job, evaluatedOn: "\(given.text).safetensors", "training.learning_rate=\(given.rate)")
            let summary = try InputFile.json(model.file("out/summary.json"))
            // By what was learned: the divergence, or the text.
            let scores = try #require(summary[given.job == "rotate" ? "kl_divergence" : "perplexity"])
            let (before, after) = try (#require(scores[given.start]?.number), #require(scores[given.end]?.number))
            #expect(given.helps ? after < 0.9 * before : after > 1.1 * before, "\(before) became \(after)")
            #expect(try improved == .bool(given.helps))
            #expect(warnings == (given.helps ? 0 : 1), "\(outcome.output)")
        }

        struct Comparison: Sendable {
            /// `start` and `end`: rows of the table.
            let job: String, start: String, end: String
            let text: String, rate: Double, helps: Bool
        }

        /// At this rate the weights become so large that RMSNorm's squares overflow and all logits are 0.
        @Test(arguments: ["train", "qat", "qat --set qat.method=integer"])
        func `a network that training has killed is a failure that says what to do`(_ job: String) throws {
            let (outcome, _) = try run(job, evaluatedOn: "data.safetensors", "training.learning_rate=1e3")
            #expect(outcome.code == 65 && outcome.errorLines.count == 1, "\(outcome)")
            #expect(
                outcome.errorLines.first?.contains("training.learning_rate: the trained network gives all") == true,
                "\(outcome.errors)")
            #expect(PathKind(model.file("out/summary.json")) == .absent && PathKind(model.file("out/model")) == .absent)
        }

        /// One range for a whole matrix in 2 bits; two rows of the table share their bits.
        @Test func `a result far from full precision is said to be, and so are rotations that do harm`() throws {
            let text = ["--set", "data.sequence_length=48", "--set", "data.eval.windows=4"]
            func output(_ settings: String...) throws -> String {
                let outcome = try Program.run(
                    ["quantize", "embedded", "--out", "far-\(settings.count)"] + text + settings.flatMap { ["--set", $0] },
                    in: model.path)
                #expect(outcome.code == 0, "\(outcome.errors)")
                return outcome.output
            }
            let far = try output("quantization.weights.bits=2", "quantization.weights.granularity=tensor")
            #expect(far.contains("is far from full precision (KL ") && far.contains("granularity=channel"), "\(far)")
            let near = try output("quantization.weights.bits=8")
            #expect(!near.contains("warning: '"), "\(near)")
            // KL 0.06 against 0.03.
            let rotated = try output(
                "quantization.weights.bits=4", "quantize.transform=learned", "quantize.learning_steps=1")
            #expect(rotated.contains("is rotated, and farther from full precision"), "\(rotated)")
            #expect(rotated.contains("(quantize.learning_steps)") && !rotated.contains("is far from"), "\(rotated)")
            // An evaluation learns nothing.
            let rounding = ["weights.bits=4", "activations.bits=16", "kv.bits=16"].map { "quantization." + $0 }
            for words in [
                ["rotate", "embedded", "--out", "fixed", "--set", "rotation.r1=hadamard", "--set", "rotation.r2=hadamard"]
                    + ["--set", "training.steps=1"] + rounding.flatMap { ["--set", $0] },
                ["eval", "embedded", "--out", "scored", "--set", "rotation.path=fixed"],
            ] {
                let outcome = try Program.run(words + text, in: model.path)
                #expect(outcome.code == 0 && outcome.output.contains("without (KL"), "\(outcome)")
                #expect(outcome.output.contains("); leave the rotations out"), "\(outcome)")
            }
        }

        @Test func `a model whose norms overflow is refused, not scored as uniform`() throws {
            try model.fill("model.layers.0.self_attn.o_proj.weight", with: 1e30)
            let (outcome, _) = try run("eval", evaluatedOn: "data.safetensors")
            #expect(outcome.code == 65 && outcome.errorLines.count == 1, "\(outcome)")
            #expect(outcome.errorLines.first?.contains("the same probability") == true, "\(outcome.errors)")
        }

        @Test(arguments: ["train", "qat"]) func `numbers that overflow end the run with 65 and what to do`(_ job: String) throws
        {
            let (outcome, _) = try run(job, evaluatedOn: "data.safetensors", "training.learning_rate=1e6")
            #expect(outcome.code == 65 && outcome.errorLines.count == 1, "\(outcome)")
            #expect(outcome.errorLines.first?.contains("training.learning_rate") == true, "\(outcome.errors)")
        }
    }
}
