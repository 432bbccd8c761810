import HuggingFace
import Testing

extension CommandLineTests {
    /// Rotations of one run given to another.
    @Suite struct RotationPath {
        @Test func `learned rotations are scored again as they were, and strangers are pointed out`() throws {
            let model = try ModelFolder()
            #expect(try Program.run(model.arguments(), in: model.path).code == 0)
            let learned = try InputFile.json(model.file("out/summary.json"))["perplexity"]?["learned"]?.number
            func evaluate(_ more: [String]) throws -> (rotated: Double?, output: String) {
                let settings = ["rotation.path=out/rotations.safetensors"] + more
                let outcome = try Program.run(
                    ["eval"] + model.arguments() + ["--out", "eval", "--overwrite"] + settings.flatMap { ["--set", $0] }, in: model.path)
                #expect(outcome.code == 0, "\(outcome.errors)")
                let summary = try InputFile.json(model.file("eval/summary.json"))
                return (summary["perplexity"]?["rotated"]?.number, outcome.output + outcome.errors)
            }
            let same = try evaluate([])
            // The rotations are merged into the weights here and not there; some processors' products then round differently.
            #expect(abs(try #require(same.rotated) / #require(learned) - 1) < 1e-5)
            #expect(!same.output.contains("note:"))
            #expect(try evaluate(["quantization.kv.bits=3"]).output.contains("used for 3"))
            try model.changeHeader { $0.replacing("\"pt\"", with: "\"np\"") }
            #expect(!(try evaluate([]).output.contains("note:")))
            var bytes = try model.read("model/model.safetensors")
            bytes[bytes.count - 4] ^= 1
            try model.write(bytes, to: "model/model.safetensors")
            #expect(try evaluate([]).output.contains("other weights"))
        }
    }
}
