import TestSupport
import Testing

extension CommandLineTests {
    @Suite struct Verify {
        @Test func `the embedded model goes by its name`() throws {
            let folder = try TemporaryFolder()
            let outcome = try Program.run(["verify", "embedded", "embedded"], in: folder.path)
            #expect(outcome.code == 0, "\(outcome.errors)")
        }

        /// The folder's tokenizer has more tokens than the model, and without data.eval.path a paragraph of text goes through both.
        @Test func `a tokenizer with tokens that the model lacks is refused`() throws {
            let model = try ModelFolder()
            try Program.expectRefusal(
                ["verify", "model", "model"], in: model.path, ranks: 0, code: 65, fragment: "outside the model's vocabulary")
        }
    }
}
