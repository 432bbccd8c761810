import Foundation
import Support
import TestSupport
import Testing

extension CommandLineTests {
    /// Runs that are stopped and gone on with, as a user does it.
    @Suite struct Resume {
        private let model: ModelFolder
        init() throws { model = try ModelFolder() }

        private static let steps = 6

        /// Runs a job into the folder `out`, and gives what it printed.
        private func run(
            _ job: String, out: String, _ settings: [String] = [], resume: String? = nil, ranks: Int = 0, code: Int32 = 0,
            flags: [String] = [], environment: [String: String?] = [:], fileSizeLimit: Int? = nil,
            sourceLocation: SourceLocation = #_sourceLocation
        ) throws -> Program.Outcome {
            let all =
                ["training.steps=\(Self.steps)", "checkpoint.every=2", "checkpoint.keep=3", "rotation.momentum=0.5"] + settings
            let outcome = try Program.run(
                [job] + model.arguments() + ["--out", out] + all.flatMap { ["--set", $0] }
                    + (resume.map { ["--resume", $0] } ?? []) + flags,
                in: model.path, ranks: ranks, environment: environment, fileSizeLimit: fileSizeLimit)
            #expect(outcome.code == code, "\(outcome.errors)", sourceLocation: sourceLocation)
            return outcome
        }

        /// As a run leaves it that died after step 4: no summary, metrics of a step that no checkpoint knows.
        private func interrupt(_ out: String, after step: Int = 4) throws {
            for name in ["summary.json", "model"] { try? FileManager.default.removeItem(atPath: model.file("\(out)/\(name)")) }
            for later in stride(from: step + 2, through: Self.steps, by: 2) {
                try FileManager.default.removeItem(atPath: model.file("\(out)/checkpoints/step-\(later)"))
            }
        }

        @Test(arguments: [("rotate", 0), ("rotate", 2), ("train", 0), ("train", 2), ("qat", 0), ("qat", 2)])
        func `a run that goes on ends as one that never stopped, to the bit`(_ job: String, _ ranks: Int) throws {
            let settings = ["optimizer.shard=true", "ternary.tolerance=0.3"]
            _ = try run(job, out: "whole", settings, ranks: ranks)
            let whole = try model.results("whole")
            #expect(
                whole.keys.contains("checkpoints/step-6/rank-0.safetensors") && whole.keys.contains("model/model.safetensors"))
            let lossesOfWhole = try model.metrics("whole")
            #expect(lossesOfWhole.count == Self.steps)
            #expect(try model.filesWithoutProgram("whole") == [])
            try interrupt("whole")
            let again = try run(job, out: "whole", settings, ranks: ranks)
            #expect(again.output.contains("resumes after step 4"))
            #expect(try model.results("whole") == whole)
            #expect(try model.metrics("whole") == lossesOfWhole)
        }

        /// Two replicas of two stages go on as three replicas, as two stages and as one rank, and these as they were.
        @Test(arguments: [("rotate", []), ("train", ["optimizer.shard=true"]), ("train", []), ("qat", [])])
        func `a run goes on with other ranks and stages where it may, within rounding`(_ job: String, _ more: [String]) throws {
            let settings = more + ["ternary.tolerance=0.3", "training.batch_size=4", "training.learning_rate=0.01"]
            func layout(_ stages: Int) -> [String] { settings + ["parallel.pipeline=\(stages)"] }
            _ = try run(job, out: "whole", layout(2), ranks: 4)
            let losses = try model.metrics("whole")
            for (ranks, stages) in [(3, 1), (2, 2), (0, 1), (4, 2)] {
                try? FileManager.default.removeItem(atPath: model.file("out"))
                try FileManager.default.copyItem(atPath: model.file("whole"), toPath: model.file("out"))
                try interrupt("out")
                if ranks != 4 {
                    let refused = try run(job, out: "out", layout(stages), ranks: ranks, code: 78)
                    #expect(
                        refused.errorLines.count == 1 && refused.errorLines[0].contains("--allow-relayout"), "\(refused.errors)"
                    )
                }
                let again = try run(job, out: "out", layout(stages), ranks: ranks, flags: ["--allow-relayout"])
                #expect(again.output.contains("resumes after step 4"))
                #expect(again.output.contains("to rounding") == (ranks != 4))
                let others = try model.metrics("out")
                #expect(others.count == losses.count)
                for (one, other) in zip(losses, others) {
                    #expect(
                        ranks == 4 ? one == other : abs(one - other) < 1e-4 * abs(one), "\(ranks) ranks: \(losses), \(others)")
                }
            }
        }

        /// Stored activations are stored again, the start is not chosen again.
        @Test(arguments: [
            ["rotation.objective=range", "rotation.starts=3", "rotation.tokens=40"], ["rotation.objective=weights"],
            ["rotation.pretrain_steps=3"],
        ]) func `rotations learned without a backward pass go on to the bit`(_ settings: [String]) throws {
            _ = try run("rotate", out: "whole", settings)
            let (whole, losses) = (try model.results("whole"), try model.metrics("whole"))
            try interrupt("whole")
            #expect(try run("rotate", out: "whole", settings).output.contains("resumes after step 4"))
            #expect(try model.results("whole") == whole)
            #expect(try model.metrics("whole") == losses)
        }

        @Test func `the same command on a finished run touches nothing, and begins anew where it may overwrite`() throws {
            _ = try run("rotate", out: "out")
            let (summary, results) = (try model.read("out/summary.json"), try model.results("out"))
            #expect(try run("rotate", out: "out").output.contains("out: this run has finished"))
            for (job, settings) in [("rotate", ["training.seed=2"]), ("train", [])] {
                #expect(try run(job, out: "out", settings, code: 78).errorLines.first?.contains("--overwrite") == true)
            }
            #expect(try run("rotate", out: "out", resume: "never", code: 78).errorLines.first?.contains("--overwrite") == true)
            #expect(try model.read("out/summary.json") == summary)
            #expect(try model.results("out") == results)
            // Input that cannot be read is found before anything is removed.
            _ = try run("rotate", out: "out", ["data.train.path=nowhere.txt"], code: 66, flags: ["--overwrite"])
            #expect(try model.read("out/summary.json") == summary)
            #expect(try model.results("out") == results)
            #expect(!(try run("rotate", out: "out", flags: ["--overwrite"]).output.contains("goes on")))
            #expect(try model.results("out") == results)
            try interrupt("out")
            #expect(!(try run("rotate", out: "out", resume: "never", flags: ["--overwrite"]).output.contains("goes on")))
        }

        @Test func `more steps extend a finished run, and an extension that is killed is resumed`() throws {
            _ = try run("rotate", out: "out")
            let extended = try run("rotate", out: "out", ["training.steps=8"])
            #expect(
                extended.output.contains("extends the finished run of 6 steps to 8")
                    && extended.output.contains("resumes after step 6"))
            #expect(try model.metrics("out", "step") == (0..<8).map(Double.init))
            let results = try model.results("out").filter { !$0.key.hasPrefix("checkpoints") }
            // Killed before it had saved anything: the newest checkpoint is the shorter run's last one.
            try FileManager.default.removeItem(atPath: model.file("out/summary.json"))
            try FileManager.default.removeItem(atPath: model.file("out/checkpoints/step-8"))
            #expect(try run("rotate", out: "out", ["training.steps=8"]).output.contains("resumes after step 6"))
            #expect(try model.results("out").filter { !$0.key.hasPrefix("checkpoints") } == results)
        }

        /// As where MPI fails after the results have been written.
        @Test(arguments: [0, 2]) func `an attempt after one that got to the end leaves its results alone`(_ ranks: Int) throws {
            let again: [String: String?] = ["SQ_TRAIN_ATTEMPT": "2", "SQ_TRAIN_RUN": "a"]
            _ = try run("rotate", out: "out", ranks: ranks, environment: ["SQ_TRAIN_RUN": "a"])
            let (summary, results) = (try model.read("out/summary.json"), try model.results("out"))
            for resume in ["auto", "never"] {
                #expect(
                    try run("rotate", out: "out", resume: resume, ranks: ranks, environment: again).output.contains(
                        "has ended this run"))
            }
            #expect(try model.read("out/summary.json") == summary)
            #expect(try model.results("out") == results)
            // What stood there before the first attempt is neither this run's end nor where it goes on.
            let other: [String: String?] = ["SQ_TRAIN_ATTEMPT": "2", "SQ_TRAIN_RUN": "b"]
            #expect(
                !(try run("rotate", out: "out", ranks: ranks, flags: ["--overwrite"], environment: other).output.contains(
                    "has ended")))
            try interrupt("out")
            _ = try run("rotate", out: "out", resume: "never", ranks: ranks, code: 78, environment: again)
            let anew = ["--overwrite"]
            #expect(!(try run("rotate", out: "out", ranks: ranks, flags: anew, environment: again).output.contains("goes on")))
            try interrupt("out")
            let late = try run("rotate", out: "out", resume: "never", ranks: ranks, flags: anew, environment: again)
            #expect(late.output.contains("resumes after step 4"), "a supervisor's `never` is meant for the first attempt")
        }

        @Test func `a run goes on in its folder, or in a new one`() throws {
            _ = try run("rotate", out: "out")
            let whole = try model.results("out").filter { !$0.key.hasPrefix("checkpoints") }
            let again = try run("rotate", out: "new", resume: "out/checkpoints/step-2")
            #expect(again.output.contains("resumes after step 2"))
            #expect(try model.results("new").filter { !$0.key.hasPrefix("checkpoints") } == whole)
            #expect(try model.metrics("new") == model.metrics("out"))
            #expect(!again.output.contains("is not read"))
            // The same command goes on with what it has saved itself.
            try interrupt("new")
            let note = "note: out/checkpoints/step-2 is not read, since new has checkpoints of its own"
            let third = try run("rotate", out: "new", resume: "out/checkpoints/step-2")
            #expect(third.output.contains(note) && third.output.contains("resumes after step 4"), "\(third.output)")
        }

        @Test func `files that are called like the words for none are no inputs`() throws {
            for name in ["sampled", "text", "auto", "embedded"] { try model.write("", to: name) }
            _ = try run("rotate", out: "none")
            for name in ["sampled", "text", "auto", "embedded"] { try model.write("newer", to: name) }
            #expect(try run("rotate", out: "none").output.contains("this run has finished"))
            #expect(!(try run("rotate", out: "none", flags: ["--overwrite"]).output.contains("has finished")))
        }

        @Test func `a checkpoint that is named is taken, however the run's folder is spelled, or refused`() throws {
            _ = try run("rotate", out: "out")
            let whole = try model.results("out")
            let overwritten = try run("rotate", out: "./out", resume: "out/checkpoints/step-2/", flags: ["--overwrite"])
            #expect(overwritten.output.contains("resumes after step 2"))
            #expect(try model.results("out") == whole)
            let early = try run("rotate", out: "out", ["training.steps=8"], resume: "./out/checkpoints/step-2", code: 78)
            #expect(early.errorLines.first?.contains("training.steps was 6 and is 8") == true, "\(early.errors)")
            try interrupt("out")
            let again = try run("rotate", out: model.file("out"), resume: "out/checkpoints/step-2")
            #expect(again.output.contains("resumes after step 2"))
            #expect(try model.results("out") == whole)
        }

        @Test(arguments: [0, 2]) func `a later attempt goes on where the run has saved since the checkpoint that was named`(
            _ ranks: Int
        ) throws {
            func attempt(_ number: Int, of run: String) -> [String: String?] {
                ["SQ_TRAIN_RUN": run, "SQ_TRAIN_ATTEMPT": String(number)]
            }
            _ = try run("rotate", out: "out", ranks: ranks, environment: attempt(1, of: "a"))
            let whole = try model.results("out")
            let named = "out/checkpoints/step-2"
            try interrupt("out")
            // It fails before it has saved anything: what stands there of step 4 is of the run that was given up.
            let config = model.file("out/config.yaml")
            try FileManager.default.removeItem(atPath: config)
            try FileManager.default.createDirectory(atPath: config, withIntermediateDirectories: false)
            _ = try run("rotate", out: "out", resume: named, ranks: ranks, code: 74, environment: attempt(1, of: "b"))
            try FileManager.default.removeItem(atPath: config)
            let second = try run("rotate", out: "out", resume: named, ranks: ranks, environment: attempt(2, of: "b"))
            #expect(second.output.contains("resumes after step 2"), "\(second.output)")
            try interrupt("out")
            let third = try run("rotate", out: "out", resume: named, ranks: ranks, environment: attempt(3, of: "b"))
            #expect(third.output.contains("resumes after step 4"), "\(third.output)")
            #expect(try model.results("out") == whole)
            // Where more have been saved since than are kept, the one that was named is gone.
            try interrupt("out")
            try FileManager.default.removeItem(atPath: model.file(named))
            let fourth = try run("rotate", out: "out", resume: named, ranks: ranks, environment: attempt(4, of: "b"))
            #expect(fourth.output.contains("resumes after step 4"), "\(fourth.output)")
        }

        @Test(arguments: ["flipped", "cut", "missing", "torn manifest"], [0, 2])
        func `a damaged checkpoint is named and the one before it taken`(_ damage: String, _ ranks: Int) throws {
            _ = try run("rotate", out: "out", ranks: ranks)
            try interrupt("out")
            // The last rank's file is damaged, which it alone sees.
            try corrupt("out/checkpoints/step-4", damage, rank: max(0, ranks - 1))
            let again = try run("rotate", out: "out", ranks: ranks)
            #expect(
                again.output.components(separatedBy: "an older checkpoint is tried").count == 2
                    && again.output.contains("step-4"))
            #expect(again.output.contains("resumes after step 2"))
        }

        private func corrupt(_ checkpoint: String, _ damage: String, rank: Int = 0) throws {
            let state = "\(checkpoint)/rank-\(rank).safetensors"
            switch damage {
            case "missing": try FileManager.default.removeItem(atPath: model.file(state))
            case "torn manifest":
                try model.write(Array(try model.read("\(checkpoint)/MANIFEST").prefix(200)), to: "\(checkpoint)/MANIFEST")
            default:
                var bytes = try model.read(state)
                if damage == "cut" { bytes.removeLast(40) } else { bytes[bytes.count - 30] ^= 4 }
                try model.write(bytes, to: state)
            }
        }

        @Test(arguments: [0, 2]) func `where all are damaged the run ends with 65, not at step 0`(_ ranks: Int) throws {
            _ = try run("rotate", out: "out", ranks: ranks)
            try interrupt("out")
            for step in [2, 4] { try corrupt("out/checkpoints/step-\(step)", "flipped") }
            let outcome = try run("rotate", out: "out", ranks: ranks, code: 65)
            #expect(outcome.errorLines.count == 1 && outcome.errorLines.first?.contains("no checkpoint can be read") == true)
            // The run that is to go on elsewhere is told of what it was to go on from.
            let named = try run("rotate", out: "new", resume: "out", ranks: ranks, code: 65)
            for part in ["error: out/checkpoints: no checkpoint", "; leave --resume out to start anew"] {
                #expect(named.errorLines.first?.contains(part) == true, "\(named.errors)")
            }
            #expect(outcome.errorLines.first?.hasSuffix("--overwrite, without --resume, starts from the beginning") == true)
        }

        @Test(arguments: [0, 2]) func `a finished run whose last checkpoint is damaged is not extended, and says so`(
            _ ranks: Int
        ) throws {
            _ = try run("rotate", out: "out", ranks: ranks)
            try corrupt("out/checkpoints/step-6", "flipped")
            let results = try model.results("out")
            let outcome = try run("rotate", out: "out", ["training.steps=8"], ranks: ranks, code: 65)
            #expect(outcome.errorLines.count == 1)
            for text in [
                "out/checkpoints/step-6/rank-0.safetensors: does not match", "training.steps was 6 and is 8", "--overwrite",
            ] { #expect(outcome.errorLines[0].contains(text), "\(outcome.errors)") }
            #expect(try model.results("out") == results)
        }

        @Test func `a run goes on by another spelling of its inputs, and with other data in another file`() throws {
            _ = try run("rotate", out: "out")
            let whole = try model.results("out")
            func path(_ key: String, _ value: String) -> String { "\(key)=\(value)" }
            let spelled = [path("model.path", "./model/../model"), path("data.train.path", model.file("data.safetensors"))]
            #expect(try run("rotate", out: "out", spelled).output.contains("out: this run has finished"))
            try interrupt("out")
            #expect(try run("rotate", out: "out", spelled).output.contains("resumes after step 4"))
            #expect(try model.results("out") == whole)
            try interrupt("out")
            try model.writeTokens(to: "other.safetensors", except: [5: 2])
            let other = [path("data.train.path", "other.safetensors")]
            #expect(try run("rotate", out: "out", other, code: 78).errorLines[0].contains("--allow-other-data"))
            let accepted = try run("rotate", out: "out", other, flags: ["--allow-other-data"])
            #expect(accepted.output.contains("training data has changed") && accepted.output.contains("resumes after step 4"))
        }

        @Test func `a dangling LATEST and a half-written checkpoint change nothing`() throws {
            _ = try run("rotate", out: "out")
            try interrupt("out")
            try model.write("step-99\n", to: "out/checkpoints/LATEST")
            try FileManager.default.createDirectory(
                atPath: model.file("out/checkpoints/step-6.tmp"), withIntermediateDirectories: false)
            #expect(try run("rotate", out: "out").output.contains("resumes after step 4"))
        }

        @Test func `a checkpoint of another run is refused, with what differs`() throws {
            _ = try run("rotate", out: "out")
            func refused(_ job: String = "rotate", _ settings: [String] = [], ranks: Int = 0, because reason: String) throws {
                try interrupt("out", after: 6)
                let outcome = try run(job, out: "out", settings, ranks: ranks, code: 78)
                #expect(
                    outcome.errorLines.count == 1 && outcome.errorLines.first?.contains(reason) == true, "\(outcome.errors)")
            }
            try refused("rotate", ["training.seed=3"], because: "training.seed was 0 and is 3")
            try refused("train", because: "holds a run of rotate, and this is train")
            try refused(ranks: 2, because: "1 rank, and there are 2")
            var bytes = try model.read("model/model.safetensors")
            bytes[bytes.count - 4] ^= 1
            try model.write(bytes, to: "model/model.safetensors")
            try refused(because: "other weights")
            try model.replace("\"version\" : 2", by: "\"version\" : 9", in: "out/checkpoints/step-6/MANIFEST")
            try model.replace("\"version\": 2", by: "\"version\": 9", in: "out/checkpoints/step-6/MANIFEST")
            try refused(because: "format 9")
        }

        @Test func `other training data under the same path is refused, or accepted with a word`() throws {
            _ = try run("rotate", out: "out")
            try interrupt("out")
            // Beyond the two windows that are scored.
            try model.writeTokens(to: "data.safetensors", except: [40: 2])
            let refused = try run("rotate", out: "out", code: 78)
            #expect(
                refused.errorLines.count == 1 && refused.errorLines.first?.contains("training data has other content") == true)
            let accepted = try run("rotate", out: "out", flags: ["--allow-other-data"])
            #expect(accepted.output.contains("training data has changed") && accepted.output.contains("resumes after step 4"))
            // Within them.
            try interrupt("out", after: 6)
            try model.writeTokens(to: "data.safetensors", except: [5: 2, 40: 2])
            let other = try run("rotate", out: "out", code: 78, flags: ["--allow-other-data"])
            #expect(other.errorLines.first?.contains("text to evaluate on has other content") == true)
        }

        @Test func `no checkpoint where the user names one is 66`() throws {
            #expect(try run("rotate", out: "out", resume: "nowhere", code: 66).errorLines[0].contains("nowhere"))
            let file = try run("rotate", out: "out", resume: "data.safetensors", code: 66)
            #expect(file.errorLines.count == 1 && file.errorLines[0].contains("data.safetensors: is a file"), "\(file.errors)")
        }

        @Test func `a disk that fills up ends the run with 74, and the checkpoint before is good`() throws {
            _ = try run("train", out: "out")
            try interrupt("out")
            // A state holds the weights and two moments: more than the limit.
            let outcome = try run("train", out: "out", code: 74, fileSizeLimit: 500)
            #expect(outcome.errorLines.count == 1 && outcome.errorLines[0].contains("step-6.tmp"))
            #expect(try run("train", out: "out").output.contains("resumes after step 4"))
        }
    }
}

extension ModelFolder {
    /// The bytes of everything a run leaves but its times.
    func results(_ out: String) throws -> [String: [UInt8]] {
        var files: [String: [UInt8]] = [:]
        for name in try FileManager.default.subpathsOfDirectory(atPath: file(out))
        where name.hasSuffix(".safetensors") || name.hasSuffix(".bin") {
            files[name] = try read("\(out)/\(name)")
        }
        return files
    }

    /// What a run leaves that does not say which program has written it, but for files whose format has no place for that, and
    /// those of the source that are passed through.
    func filesWithoutProgram(_ out: String) throws -> [String] {
        let others: Set = ["run.lock", "LATEST", "config.json", "tokenizer.json"]
        return try FileManager.default.subpathsOfDirectory(atPath: file(out)).filter { name in
            guard PathKind(file("\(out)/\(name)")) == .file, !others.contains(String(name.split(separator: "/").last ?? ""))
            else { return false }
            return try read("\(out)/\(name)").firstRange(of: Array(ProgramVersion.name.utf8)) == nil
        }
    }

    /// A key of every step's metrics.
    func metrics(_ out: String, _ key: String = "loss") throws -> [Double] {
        try String(decoding: read("\(out)/metrics.jsonl"), as: UTF8.self).split(separator: "\n").map { line in
            try JSONValue(parsing: Array(line.utf8))[key]?.number ?? .nan
        }
    }
}
