import Foundation
import HuggingFace
import Support
import TestSupport
import Testing

extension CommandLineTests {
    @Suite struct Sweep {
        private static let grid = """
            settings: {data.sequence_length: 16, data.eval.windows: 1}
            runs:
              - job: eval
                grid: {model.path: [nowhere/]}
              - job: quantize
                grid: {quantization.weights.bits: [3, 4, 8]}
            """

        @Test func `runs side by side give the rows of runs one after the other, and the failure of the one that failed`()
            throws
        {
            let folder = try TemporaryFolder()
            try AtomicFile.write(Self.grid, to: folder.file("grid.yaml"))
            let alone = try Program.run(["sweep", "grid.yaml", "--out", "alone"], in: folder.path)
            let beside = try Program.run(
                ["sweep", "grid.yaml", "--out", "beside", "--side-by-side", "2"], in: folder.path, ranks: 2)
            for outcome in [alone, beside] {
                #expect(outcome.code == 66 && outcome.errorLines.count == 1, "\(outcome.errors)")
                #expect(outcome.errorLines.first?.contains("nowhere/") == true)
            }
            // Each run has begun once.
            for run in 1...4 { #expect(beside.output.split(separator: "== run \(run) of 4").count == 2, "\(beside.output)") }
            let rows = try ["alone", "beside"].map { sweep in
                try #require(try InputFile.json(folder.file("\(sweep)/sweep.json")).array)
            }
            #expect(rows[0].count == 4)
            for key in ["run", "perplexity", "kl_divergence", "bits_per_weight", "bytes", "pareto", "failure"] {
                #expect(rows[0].map { $0[key] } == rows[1].map { $0[key] }, "\(key)")
            }
            #expect(try entries(ofFolder: folder.file("beside")) == entries(ofFolder: folder.file("alone")))
        }

        @Test(arguments: [0, 2]) func `a sweep asked to stop says how it goes on: with its own folder`(_ ranks: Int) throws {
            let folder = try TemporaryFolder()
            let grid = """
                settings: {data.sequence_length: 16, data.eval.windows: 1, training.steps: 1000000, checkpoint.every: 0}
                runs: [{job: train, grid: {training.seed: [1, 2]}}]
                """
            try AtomicFile.write(grid, to: folder.file("grid.yaml"))
            let run = try Program.start(
                ["sweep", "grid.yaml", "--out", "out"] + (ranks > 1 ? ["--side-by-side", "\(ranks)"] : []), in: folder.path,
                ranks: ranks)
            let metrics = folder.file("out/train,seed=1/metrics.jsonl")
            for _ in 0..<12_000 {
                if let begun = try? InputFile.contents(of: metrics, limit: 1 << 30), !begun.isEmpty { break }
                usleep(10_000)
            }
            run.send(SIGUSR1)
            let outcome = try run.wait()
            #expect(outcome.code == 0, "\(outcome)")
            let lines = outcome.output.split(separator: "\n").filter { $0.hasPrefix("stopped on request") }
            #expect(
                lines == ["stopped on request; the same command with --out out continues with the runs that have not finished"],
                "\(outcome)")
        }

        /// One run was stopped, and the sweep goes on with other ranks: one after the other, or side by side.
        @Test(arguments: [0, 2]) func `a sweep goes on with another number of ranks where it may`(_ ranks: Int) throws {
            let folder = try TemporaryFolder()
            let grid = """
                settings: {data.sequence_length: 16, data.eval.windows: 1, data.sampled_sequences: 4, training.steps: 4}
                runs: [{job: train, settings: {checkpoint.every: 2, training.batch_size: 4}, grid: {training.seed: [1, 2]}}]
                """
            try AtomicFile.write(grid, to: folder.file("grid.yaml"))
            let sweep = ["sweep", "grid.yaml", "--out", "out"]
            let begun = ranks == 0 ? 2 : 4
            let beside = ["--side-by-side", "2"]
            _ = try Program.run(sweep + (ranks == 0 ? [] : beside), in: folder.path, ranks: begun)
            let run = folder.file("out/train,seed=1")
            for name in ["summary.json", "checkpoints/step-4"] {
                try FileManager.default.removeItem(atPath: "\(run)/\(name)")
            }
            let again = sweep + (ranks == 0 ? [] : beside)
            let refused = try Program.run(again, in: folder.path, ranks: ranks)
            #expect(refused.code == 78 && refused.errorLines.count == 1, "\(refused)")
            #expect(refused.errorLines.first?.contains("--allow-relayout") == true, "\(refused.errors)")
            let accepted = try Program.run(again + ["--allow-relayout"], in: folder.path, ranks: ranks)
            #expect(accepted.code == 0, "\(accepted)")
            #expect(PathKind("\(run)/summary.json") == .file)
            let metrics = try InputFile.contents(of: "\(run)/metrics.jsonl", limit: 1 << 20)
            #expect(metrics.count { $0 == UInt8(ascii: "\n") } == 4)
        }

        @Test func `what is wrong in a sweep's file is told with its line`() throws {
            let folder = try TemporaryFolder()
            try AtomicFile.write("runs:\n  - job: eval\n    grid: {eval.windows: [4]}\n", to: folder.file("grid.yaml"))
            try Program.expectRefusal(
                ["sweep", "grid.yaml", "--out", "out"], in: folder.path, ranks: 0, code: 78,
                fragment: "grid.yaml:3: unknown key 'eval.windows'")
        }

        @Test func `ranks that cannot be divided are refused before anything runs`() throws {
            let folder = try TemporaryFolder()
            try AtomicFile.write(Self.grid, to: folder.file("grid.yaml"))
            try Program.expectRefusal(
                ["sweep", "grid.yaml", "--out", "out", "--side-by-side", "2"], in: folder.path, ranks: 0, code: 78,
                fragment: "--side-by-side: 1 rank cannot be divided into 2 equal groups")
        }
    }
}
