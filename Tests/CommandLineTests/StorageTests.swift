import Foundation
import HuggingFace
import Models
import Support
import TestSupport
import Testing

extension CommandLineTests {
    /// `model.storage` as a user sets it.
    @Suite struct Storage {
        /// The checkpoint's matrices in bfloat16, as most are.
        private func halfModel() throws -> ModelFolder {
            let model = try ModelFolder()
            let folder = try Models.ModelFolder(model.file("model"))
            try folder.write(folder.parameters(), as: .bf16, to: model.file("half"))
            return model
        }

        private func settings(_ settings: String...) -> [String] { settings.flatMap { ["--set", $0] } }

        @Test(arguments: [1, 2])
        func `weights of a bfloat16 checkpoint give the same bits from bfloat16 and from their file`(
            stages: Int
        ) throws {
            let model = try halfModel()
            var results: [[String]] = []
            for storage in ["f32", "bf16", "file"] {
                let arguments =
                    model.arguments() + ["--out", storage]
                    + settings("model.path=half", "model.storage=\(storage)", "training.steps=3", "parallel.pipeline=\(stages)")
                let outcome = try Program.run(["rotate"] + arguments, in: model.path, ranks: stages)
                #expect(outcome.code == 0, "\(outcome.errors)")
                let lines = String(decoding: try model.read("\(storage)/metrics.jsonl"), as: UTF8.self).split(separator: "\n")
                let losses = try lines.map { "\(try #require(try JSONValue(parsing: Array($0.utf8))["loss"]?.number))" }
                let summary = try InputFile.json(model.file("\(storage)/summary.json"))
                results.append(losses + ["\(try #require(summary["perplexity"]))"])
                #expect(losses.count == 3)
            }
            #expect(results.allSatisfy { $0 == results[0] })
            let rotations = try ["f32", "bf16", "file"].map { try model.read("\($0)/rotations.safetensors") }
            #expect(rotations.allSatisfy { $0 == rotations[0] })
            let verified = try Program.run(
                [
                    "verify", "half", "bf16/model", "--set", "data.eval.path=data.safetensors", "--set",
                    "data.sequence_length=16",
                ],
                in: model.path)
            #expect(verified.code == 0, "\(verified.errors)")
        }

        @Test(arguments: ["quantize", "ptq"])
        func `linears are compressed to the same bytes out of their file`(_ job: String) throws {
            let model = try halfModel()
            for storage in ["f32", "file"] {
                let outcome = try Program.run(
                    [job] + model.arguments() + ["--out", storage]
                        + settings(
                            "model.path=half", "model.storage=\(storage)", "quantization.weights.bits=4",
                            "ternary.tolerance=0.4"), in: model.path)
                #expect(outcome.code == 0, "\(outcome.errors)")
            }
            let file = job == "ptq" ? "ternary.safetensors" : "model.safetensors"
            #expect(try model.read("f32/model/\(file)") == model.read("file/model/\(file)"))
            let scores = try ["f32", "file"].map { try InputFile.json(model.file("\($0)/summary.json"))["perplexity"] }
            #expect(scores[0] != nil && scores[0] == scores[1])
        }

        @Test func `a calibration in the run's folder ends with the bytes of one in memory, and leaves no file`() throws {
            let model = try halfModel()
            for storage in ["f32", "file"] {
                let outcome = try Program.run(
                    ["quantize"] + model.arguments() + ["--out", storage]
                        + settings(
                            "model.path=half", "model.storage=\(storage)", "quantization.weights.bits=4",
                            "quantization.weights.method=gptq", "quantize.balance=true", "calibration.sequences=4"),
                    in: model.path, ranks: 2)
                #expect(outcome.code == 0, "\(outcome.errors)")
            }
            #expect(try model.read("f32/model/model.safetensors") == model.read("file/model/model.safetensors"))
            #expect(PathKind(model.file("file/decomposition")) == .absent)
        }

        @Test(arguments: [("bf16", ["train", "qat", "ptq"]), ("file", ["train", "qat"])])
        func `a job that changes weights refuses to keep them elsewhere`(_ storage: String, _ jobs: [String]) throws {
            let model = try ModelFolder()
            for job in jobs {
                try Program.expectRefusal(
                    [job] + model.arguments() + settings("model.storage=\(storage)"), in: model.path, ranks: 1, code: 78,
                    fragment: "model.storage: \(storage) is for weights that stay as they are")
            }
        }
    }
}
