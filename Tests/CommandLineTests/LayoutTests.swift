import Foundation
import Support
import TestSupport
import Testing

extension CommandLineTests {
    /// `parallel.pipeline` as a user sets it.
    @Suite struct Layouts {
        private func layers(_ model: ModelFolder) throws -> Int {
            try #require(try InputFile.json(model.file("model/config.json"))["num_hidden_layers"]?.integer)
        }

        private func settings(_ settings: String...) -> [String] { settings.flatMap { ["--set", $0] } }

        @Test func `a layout that cannot be run is one line and exit code 78`() throws {
            let model = try ModelFolder()
            let stages = 2 * (try layers(model)) + 1
            let large = settings("training.batch_size=\(2 * stages)")
            let cases: [([String], Int, String)] = [
                (settings("parallel.data=2", "parallel.pipeline=2"), 2, "and the job has 2 ranks;"),
                (settings("parallel.pipeline=\(stages)") + large, stages, "more than the \(stages - 1) that"),
                (settings("parallel.pipeline=2", "parallel.microbatches=1"), 2, "less than one for each of 2 stages"),
                (settings("parallel.pipeline=2", "parallel.microbatches=3"), 2, "more than the 2 sequences"),
                (settings("parallel.pipeline=2", "training.batch_size=1"), 2, "too few micro-batches"),
                (settings("parallel.data=2", "training.batch_size=1"), 2, "less than one sequence for each of 2 replicas"),
            ]
            for (changes, ranks, fragment) in cases {
                try Program.expectRefusal(
                    ["rotate"] + model.arguments() + changes, in: model.path, ranks: ranks, code: 78, fragment: fragment)
            }
        }

        /// Two stages a layer, one shard a stage, which together are the function that was read; and the losses are one rank's
        /// of the same micro-batches to the last digit.
        @Test func `stages write a model that computes the same function, and eval reads it in stages`() throws {
            let model = try ModelFolder()
            let stages = 2 * (try layers(model))
            func metrics(_ ranks: Int) throws -> String {
                let arguments =
                    model.arguments() + ["--out", "out\(ranks)"]
                    + settings(
                        "parallel.pipeline=\(ranks)", "parallel.microbatches=\(stages)", "training.steps=3",
                        "training.batch_size=\(stages)")
                let outcome = try Program.run(["rotate"] + arguments, in: model.path, ranks: ranks)
                #expect(outcome.code == 0, "\(outcome.errors)")
                let lines = String(decoding: try model.read("out\(ranks)/metrics.jsonl"), as: UTF8.self).split(separator: "\n")
                #expect(lines.count == 3)
                return try lines.map { "\(try #require(try JSONValue(parsing: Array($0.utf8))["loss"]?.number))" }.joined(
                    separator: " ")
            }
            #expect(try metrics(stages) == metrics(1))
            let written = try FileManager.default.contentsOfDirectory(atPath: model.file("out\(stages)/model"))
            #expect(written.count { $0.hasPrefix("model-") && $0.hasSuffix(".safetensors") } == stages)
            let summary = try InputFile.json(model.file("out\(stages)/summary.json"))
            #expect(summary["data_parallel"]?.integer == 1 && summary["pipeline_parallel"]?.integer == stages)
            #expect(summary["peak_memory_bytes_per_rank"]?.array?.count == stages)
            #expect(summary["ideal_bubble_fraction"]?.number == Double(stages - 1) / Double(2 * stages - 1))
            let verified = try Program.run(
                [
                    "verify", "model", "out\(stages)/model", "--set", "data.eval.path=data.safetensors", "--set",
                    "data.sequence_length=16",
                ],
                in: model.path)
            #expect(verified.code == 0, "\(verified.errors)")

            let evaluation = model.arguments() + settings("model.path=out\(stages)/model", "parallel.pipeline=\(stages)")
            let outcome = try Program.run(["eval"] + evaluation + ["--out", "eval"], in: model.path, ranks: stages)
            #expect(outcome.code == 0, "\(outcome.errors)")
            let evaluated = try InputFile.json(model.file("eval/summary.json"))
            #expect(evaluated["perplexity"]?["full_precision"]?.number ?? 0 > 1)
            let digest = try InputFile(model.file("data.safetensors")).sha256()
            #expect(evaluated["data"]?["eval"]?["sha256"]?.string == digest)
            #expect(evaluated["data"]?["eval"]?["windows"]?.integer == 2)
        }

        /// The last stage alone sees that its numbers are of no use; nobody may be left waiting for it.
        @Test func `a stage whose numbers overflow ends all ranks with its message`() throws {
            let model = try ModelFolder()
            var bytes = try model.read("model/model.safetensors")
            let length = bytes.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
            let header = try JSONValue(parsing: Array(bytes[8..<8 + length]))
            let place = try #require(header["lm_head.weight"]?["data_offsets"]?.integers)
            let huge = withUnsafeBytes(of: Float(3e38).bitPattern.littleEndian) { Array($0) }
            for at in stride(from: place[0], to: place[1], by: 4) {
                bytes.replaceSubrange(8 + length + at..<12 + length + at, with: huge)
            }
            try model.write(bytes, to: "model/model.safetensors")
            let start = Date()
            let outcome = try Program.run(
                ["rotate"] + model.arguments() + settings("parallel.pipeline=2"), in: model.path, ranks: 2)
            #expect(outcome.code == 65, "\(outcome.errors)")
            #expect(outcome.errorLines.first?.contains("not finite") == true, "\(outcome.errors)")
            #expect(Date().timeIntervalSince(start) < 60, "a rank waited")
        }
    }
}
