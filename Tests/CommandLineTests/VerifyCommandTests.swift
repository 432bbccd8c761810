import Foundation
import HuggingFace
import TestSupport
import Testing

extension CommandLineTests {
    @Suite struct Verify {
        @Test func `the embedded model goes by its name`() throws {
            let folder = try TemporaryFolder()
            let outcome = try Program.run(["verify", "embedded", "embedded"], in: folder.path)
            #expect(outcome.code == 0 && outcome.errors.isEmpty, "\(outcome.errors)")
        }

        @Test(arguments: [["verify", "embedded", "embedded"], ["profile", "embedded"]])
        func `a setting that a command without a run does not read is told`(words: [String]) throws {
            let folder = try TemporaryFolder()
            let outcome = try Program.run(words + ["--set", "qat.distill=true"], in: folder.path)
            let line = "warning: --set qat.distill: has no effect here; \(words[0]) reads"
            #expect(outcome.code == 0 && outcome.errors.contains(line), "\(outcome.errors)")
        }

        @Test(arguments: [("model.embed_tokens.weight", 3), ("lm_head.weight", 250)])
        func `models that differ in one token's row end with code 1, which names it`(tensor: String, token: Int) throws {
            let model = try ModelFolder()
            let arguments =
                ["verify", "model", "other"]
                + ["data.eval.path=data.safetensors", "data.sequence_length=16"].flatMap { ["--set", $0] }
            try FileManager.default.copyItem(atPath: model.file("model"), toPath: model.file("other"))
            let same = try Program.run(arguments, in: model.path)
            #expect(same.code == 0 && same.output.contains("every token (256)"), "\(same.errors)")
            let info = try SafetensorsFile(model.file("model/model.safetensors")).info(tensor)
            var bytes = try model.read("other/model.safetensors")
            let row = info.byteRange.lowerBound + token * info.rowLength * 4
            // The byte that holds all but the lowest bit of a float's exponent: every entry becomes small but nine.
            for entry in 0..<info.rowLength { bytes[row + 4 * entry + 3] = entry < 9 ? 0x3F : 0x30 }
            try model.write(bytes, to: "other/model.safetensors")
            let outcome = try Program.run(arguments, in: model.path)
            #expect(outcome.code == 1, "\(outcome.errors)")
            #expect(
                outcome.errorLines.count == 1 && outcome.errorLines[0].contains("\(tensor), the row of token \(token)"),
                "\(outcome.errors)")
        }

        /// The last norm's gain is a part of the head's rows, through a rotation.
        @Test func `models that differ in the last norm alone end with its name`() throws {
            let model = try ModelFolder()
            try FileManager.default.copyItem(atPath: model.file("model"), toPath: model.file("other"))
            try model.fill("model.norm.weight", with: 0.5)
            let outcome = try Program.run(
                ["verify", "other", "model"]
                    + ["data.eval.path=data.safetensors", "data.sequence_length=16"].flatMap { ["--set", $0] }, in: model.path)
            let place = ": model.norm.weight, which shows in lm_head.weight, the rows of tokens "
            #expect(outcome.code == 1 && outcome.errorLines.count == 1, "\(outcome.errors)")
            #expect(outcome.errors.contains(place), "\(outcome.errors)")
        }

        /// The folder's tokenizer has more tokens than the model, and without data.eval.path a paragraph of text goes through
        /// both.
        @Test func `a tokenizer with tokens that the model lacks is refused`() throws {
            let model = try ModelFolder()
            try Program.expectRefusal(
                ["verify", "model", "model"], in: model.path, ranks: 0, code: 65, fragment: "outside the model's vocabulary")
        }
    }
}
