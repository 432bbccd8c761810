import Collectives
import Configuration
import Glibc
import Support
import TestSupport
import Testing

@testable import Jobs
@testable import Runs

extension RankTests {
    @Suite(.serialized) struct SweepTests {
        let world = RankWorld.shared

        /// Runs a sweep of small jobs of the embedded model in a folder that all ranks see, and says how it ended.
        ///
        /// - Parameters:
        ///   - said: given the folder, and what is said to the user, before the sweep goes on.
        ///   - body: given the folder, and what the sweep has thrown on this rank.
        private func sweep(
            _ runs: String, sideBySide: Int, said: @escaping (String, String) -> Void = { _, _ in },
            _ body: (String, AgreedError?) throws -> Void
        ) throws {
            let own = try world.agree { world.isRoot ? try TemporaryFolder() : nil }
            let folder = try world.fromRoot { own?.path ?? "" }
            if world.isRoot { try AtomicFile.write(runs, to: "\(folder)/grid.yaml") }
            try world.barrier()
            let settings = SettingsRequest(assignments: [
                "out=\(folder)/sweep", "data.sequence_length=16", "data.eval.windows=1", "eval.compare=false",
            ])
            var failure: AgreedError?
            do {
                try SweepJob("\(folder)/grid.yaml", sideBySide: sideBySide).run(
                    JobRequest(settings, resume: .auto),
                    Reporter(isSpeaking: world.isRoot, isTerminal: false, interval: .seconds(5)) {
                        said("\(folder)/sweep", $0)
                    },
                    on: world)
            } catch let error as AgreedError {
                failure = error
            }
            try body("\(folder)/sweep", failure)
            try world.barrier()
            withExtendedLifetime(own) {}
        }

        @Test func `a run whose loss overflows is a row on all ranks, and the others go ahead`() throws {
            let runs = """
                settings: {training.steps: 6, training.optimizer: sgd, optimizer.clip_norm: none}
                runs: [{job: train, grid: {training.learning_rate: [1e6, 0.01]}}]
                """
            try sweep(runs, sideBySide: 1) { folder, failure in
                #expect(failure?.description.contains("is not finite") == true)
                let rows = try #require(try InputFile.json("\(folder)/sweep.json").array)
                try #require(rows.count == 2)
                #expect(rows[0]["failure"]?.string == failure?.description)
                #expect(rows[1]["perplexity"]?.number?.isFinite == true)
            }
        }

        @Test func `a group that cannot write down how a run has ended stops no other, and all end with its error`() throws {
            let bits = (0..<max(2, world.size)).map { "\(8 - $0)" }.joined(separator: ", ")
            let runs = "runs: [{job: quantize, grid: {quantization.weights.bits: [\(bits)]}}]"
            try sweep(runs, sideBySide: world.size) { folder, text in
                // Once a group has taken the second run.
                if text.contains("== run 2 of") { _ = mkdir("\(folder)/\(SweepFolder.ledgerName)/1/outcome.json", 0o755) }
            } _: { folder, failure in
                #expect(failure?.description.contains("outcome.json") == true)
                #expect(PathKind("\(folder)/\(SweepFolder.ledgerName)/0/outcome.json") == .file)
            }
        }
    }
}
