import Foundation
import HuggingFace
import Testing

extension CommandLineTests {
    @Suite struct FullDisk {
        /// The first file that does not fit: the model; of a model with larger rotations than any configuration is, the
        /// checkpoint, or where none is asked for the rotations; with next to no room, the configuration.
        @Test(arguments: [
            ("model", 200, "model", 1), ("embedded", 100, "checkpoints/step-1.tmp/rank-0.safetensors", 1),
            ("embedded", 100, "rotations.safetensors", 0), ("model", 1, "config.yaml", 1),
        ])
        func `a run that does not fit ends with 74 and leaves whole files only`(
            _ path: String, _ kibibytes: Int, _ file: String, _ checkpointEvery: Int
        ) throws {
            let model = try ModelFolder()
            let settings = ["model.path=\(path)", "checkpoint.every=\(checkpointEvery)"].flatMap { ["--set", $0] }
            let outcome = try Program.run(model.arguments() + settings, in: model.path, fileSizeLimit: kibibytes)
            #expect(outcome.code == 74, "\(outcome.errors)")
            #expect(outcome.errorLines.count == 1 && outcome.errorLines[0].contains("out/\(file)"), "\(outcome.errors)")
            let left = try FileManager.default.subpathsOfDirectory(atPath: model.path)
            #expect(
                !left.contains { $0.contains(".tmp") || $0.contains("out/\(file)") || $0.contains("summary.json") }, "\(left)")
        }

        @Test func `activations that do not fit are found before any is computed, and told once`() throws {
            let model = try ModelFolder()
            let settings = [
                "model.path=model", "model.storage=file", "data.eval.path=data.safetensors", "data.sequence_length=16",
                "data.sampled_sequences=64", "calibration.sequences=64", "quantization.weights.bits=4",
                "quantization.weights.method=gptq",
            ]
            let outcome = try Program.run(
                ["quantize", "--out", "out"] + settings.flatMap { ["--set", $0] }, in: model.path, ranks: 2, fileSizeLimit: 100)
            #expect(outcome.code == 74, "\(outcome.errors)")
            #expect(
                outcome.errorLines.count == 1 && outcome.errorLines[0].contains("cannot have 131072 bytes"), "\(outcome.errors)"
            )
        }

        @Test(arguments: [["--print-config"], ["plan"], ["generate", "--prompt", "The", "--set", "generate.max_tokens=600"]])
        func `output that does not fit ends with 74`(_ arguments: [String]) throws {
            let model = try ModelFolder()
            let outcome = try Program.run(arguments, in: model.path, fileSizeLimit: 1)
            #expect(outcome.code == 74 && outcome.output.utf8.count == 1024, "\(outcome.errors)")
            #expect(outcome.errorLines == ["sq-train: error: standard output: cannot be written: File too large"])
        }
    }
}
