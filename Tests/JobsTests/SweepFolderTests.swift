import Collectives
import Configuration
import Foundation
import Support
import TestSupport
import Testing

@testable import Jobs
@testable import Runs

/// What a sweep may begin in, and what becomes of what is there.
@Suite struct SweepFolderTests {
    private let folder: TemporaryFolder
    private var path: String { folder.file("sweep") }
    private let grid = "runs: [{job: eval, grid: {training.seed: [1, 2]}}]"
    private static let common = ["data.sequence_length=16", "data.eval.windows=1", "eval.compare=false"]

    init() throws { folder = try TemporaryFolder() }

    private func sweep(
        _ text: String, _ more: [String] = [], overwrites: Bool = false, attempt: Int = 1, run: String? = nil
    ) throws {
        try AtomicFile.write(text, to: folder.file("grid.yaml"))
        let settings = SettingsRequest(assignments: ["out=\(path)"] + Self.common + more)
        try SweepJob(folder.file("grid.yaml")).run(
            JobRequest(settings, resume: .auto, overwrites: overwrites, attempt: attempt, run: run),
            Reporter(isSpeaking: false), on: LoopbackCommunicator())
    }

    /// All files of the sweep's folder, with what is in them.
    private func contents() throws -> [String: [UInt8]] {
        var result: [String: [UInt8]] = [:]
        func read(_ name: String) throws {
            let path = name.isEmpty ? path : "\(path)/\(name)"
            guard PathKind(path) == .folder else { return result[name] = try InputFile.contents(of: path, limit: 1 << 24) }
            result[name] = []
            for entry in try entries(ofFolder: path) { try read(name.isEmpty ? entry : "\(name)/\(entry)") }
        }
        try read("")
        return result
    }

    /// That the sweep is refused and leaves everything as it is.
    private func refusal(
        _ fragments: [String], _ text: String? = nil, _ more: [String] = [], overwrites: Bool = false,
        at location: SourceLocation = #_sourceLocation
    ) throws {
        let before = try contents()
        let error = #expect(throws: AgreedError.self, sourceLocation: location) {
            try sweep(text ?? grid, more, overwrites: overwrites)
        }
        #expect(error?.exitCode == .configuration, sourceLocation: location)
        for fragment in fragments + ["--out"] {
            #expect(error?.description.contains(fragment) == true, "\(error?.description ?? "")", sourceLocation: location)
        }
        #expect(try contents() == before, sourceLocation: location)
    }

    private func rows() throws -> [JSONValue] { try #require(try InputFile.json("\(path)/sweep.json").array) }

    @Test(arguments: ["sweep.csv", "thesis.tex", ".ledger"]) func `files that are no sweep's are refused by name`(
        _ name: String
    ) throws {
        try makeFolder(path)
        try AtomicFile.write("mine", to: "\(path)/\(name)")
        try refusal(["holds files that belong to no run (\(name))", "--overwrite"])
        try sweep(grid, overwrites: true)
        #expect(try rows().count == 2)
        // Beside the sweep's own, anything may stand.
        try AtomicFile.write("mine", to: "\(path)/notes.txt")
        try sweep(grid)
        // In the folder of a run, nothing.
        try makeFolder("\(path)/eval,seed=3")
        try AtomicFile.write("mine", to: "\(path)/eval,seed=3/thesis.tex")
        try refusal(["eval,seed=3: holds files that belong to no run (thesis.tex)"], grid.replacing("1, 2", with: "1, 2, 3"))
    }

    @Test func `a sweep's folder is made with those that it is in, and may be behind a link`() throws {
        try makeFolder(folder.file("disk"))
        try FileManager.default.createSymbolicLink(atPath: folder.file("a"), withDestinationPath: folder.file("disk"))
        do { _ = try SweepFolder(folder.file("a/b/c")).begin(run: "", supervisor: nil, clearing: nil) }
        #expect(PathKind(folder.file("disk/b/c/run.json")) == .file)
        try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: folder.file("disk/b/c"))
        try sweep(grid)
        #expect(try rows().count == 2)
    }

    @Test func `a folder with another job's run is refused, and overwritten where that is asked for`() throws {
        let settings = SettingsRequest(assignments: ["out=\(path)"] + Self.common)
        try EvaluateJob().run(
            JobRequest(settings), Reporter(isSpeaking: false), on: LoopbackCommunicator())
        try refusal(["holds a run of eval, and this is sweep", "--overwrite"])
        try sweep(grid, overwrites: true)
        for name in ["summary.json", "config.yaml", "metrics.jsonl"] {
            #expect(PathKind("\(path)/\(name)") == .absent, "\(name)")
        }
        try sweep(grid)
        // And the other way.
        let error = #expect(throws: AgreedError.self) {
            try EvaluateJob().run(JobRequest(settings), Reporter(isSpeaking: false), on: LoopbackCommunicator())
        }
        #expect(error?.description.contains("holds a run of sweep, and this is eval") == true)
    }

    @Test func `runs may be added and taken away, and those that are there keep their settings`() throws {
        try sweep(grid)
        let summary = try InputFile.contents(of: "\(path)/eval,seed=2/summary.json", limit: 1 << 20)
        try sweep(grid.replacing("1, 2", with: "2, 3"))
        #expect(try rows().map { $0["run"]?.string } == ["eval,seed=2", "eval,seed=3"])
        #expect(try InputFile.contents(of: "\(path)/eval,seed=2/summary.json", limit: 1 << 20) == summary)
        // Before any run, the new one of them, and with the table as it was.
        let other = ["data.eval.windows=2"]
        try refusal(
            ["eval,seed=2: holds a finished run of eval with other settings: data.eval.windows was 1 and is 2", "--overwrite"],
            grid.replacing("1, 2", with: "4, 2"), other)
        try sweep(grid, other, overwrites: true)
        #expect(try rows().count == 2)
        #expect(try InputFile.contents(of: "\(path)/eval,seed=2/summary.json", limit: 1 << 20) != summary)
        try sweep(grid, other)
        // What is not of the grid stays.
        #expect(PathKind("\(path)/eval,seed=3/summary.json") == .file)
    }

    private func summary(_ run: String) throws -> [UInt8] {
        try InputFile.contents(of: "\(path)/\(run)/summary.json", limit: 1 << 20)
    }

    private func names() throws -> [String?] { try rows().map { $0["run"]?.string } }

    @Test func `a run is found by its settings, whatever entries stand beside it`() throws {
        func entries(_ bits: Int...) -> String {
            "runs: [\(bits.map { "{job: eval, settings: {quantization.weights.bits: \($0)}}" }.joined(separator: ", "))]"
        }
        try sweep(entries(4))
        #expect(try names() == ["eval"])
        let four = try summary("eval")
        try sweep(entries(3, 4))
        #expect(try names() == ["eval,bits=3", "eval"])
        #expect(try summary("eval") == four)
        let three = try summary("eval,bits=3")
        try sweep(entries(8, 3, 4))
        #expect(try names() == ["eval,bits=8", "eval,bits=3", "eval"])
        // As earlier versions named them, by their place.
        try FileManager.default.moveItem(atPath: "\(path)/eval,bits=3", toPath: "\(path)/eval,2")
        try sweep(entries(3))
        #expect(try names() == ["eval,2"])
        #expect(try summary("eval,2") == three && summary("eval") == four)
        // Of one that starts over nothing is taken for the new one.
        try sweep(entries(3, 4), overwrites: true)
        #expect(try names() == ["eval,bits=3", "eval,bits=4"])
        for name in ["eval", "eval,2"] { #expect(PathKind("\(path)/\(name)/summary.json") == .absent, "\(name)") }
    }

    @Test func `a run that has finished before is in the table from the first run on that ends`() throws {
        try sweep(grid)
        let before = try rows()
        // Killed in the second run: the ledger is left, with the first run's end.
        let more = "runs: [{job: eval, grid: {training.seed: [3, 4, 1, 2]}}]"
        try AtomicFile.write(more, to: folder.file("grid.yaml"))
        let runs = try SweepGrid(file: folder.file("grid.yaml"))
        let request = JobRequest(SettingsRequest(assignments: ["out=\(path)"] + Self.common), resume: .auto)
        let admission = try SweepAdmission(runs, of: "grid.yaml", request, SweepFolder(path), overwrites: false)
        #expect(admission.finished == [2, 3])
        let ledger = SweepLedger(in: path)
        try ledger.begin(finished: admission.finished)
        #expect(try SweepReport(runs, ledger, in: path).rows.map(\.run.name) == ["eval,seed=1", "eval,seed=2"])
        #expect(try SweepReport(runs, ledger, in: path).rows.map(\.perplexity) == before.map { $0["perplexity"]?.number })
        #expect(try ledger.take(from: 0..<4) == 0 && ledger.take(from: 0..<4) == 1 && ledger.take(from: 0..<4) == 2)
        // What has been tried again counts as it ended then.
        try ledger.note(0, of: "m", AgreedError(exitCode: .data, description: "x"))
        try ledger.note(2, of: "m", AgreedError(exitCode: .data, description: "y"))
        #expect(
            try SweepReport(runs, ledger, in: path).rows.map(\.failure) == ["x", "y", nil])
    }

    @Test func `a run that is extended is in the table when it has been`() throws {
        let text = "runs: [{job: train, grid: {training.seed: [1]}}]"
        let few = ["training.batch_size=1", "data.sampled_sequences=4", "training.steps="]
        func settings(_ steps: Int) -> [String] { few.dropLast() + ["\(few[2])\(steps)"] }
        try sweep(text, settings(1))
        let request = JobRequest(SettingsRequest(assignments: ["out=\(path)"] + Self.common + settings(2)), resume: .auto)
        let admission = try SweepAdmission(
            SweepGrid(file: folder.file("grid.yaml")), of: "grid.yaml", request, SweepFolder(path), overwrites: false)
        #expect(admission.finished == [])
        try sweep(text, settings(2))
        #expect(try InputFile.json("\(path)/train,seed=1/summary.json")["steps"]?.integer == 2)
    }

    @Test func `a run's link to checkpoints that leads nowhere is told before another run's results go`() throws {
        try sweep(grid)
        let names = ["sweep.csv", "eval,seed=1/summary.json", "eval,seed=2/summary.json"].map { "\(path)/\($0)" }
        try FileManager.default.createSymbolicLink(
            atPath: "\(path)/eval,seed=2/checkpoints", withDestinationPath: folder.file("away"))
        let error = #expect(throws: AgreedError.self) { try sweep(grid, overwrites: true) }
        #expect(error?.exitCode == .noInput, "\(error?.description ?? "")")
        for name in names { #expect(PathKind(name) == .file, "\(name)") }
        try makeFolder(folder.file("away"))
        try sweep(grid, overwrites: true)
        #expect(try rows().count == 2)
    }

    @Test func `an unfinished run with other settings is refused before anything runs`() throws {
        let run = "\(path)/eval,seed=2"
        let config = try RunConfig(assignments: Self.common + ["training.seed=2", "data.eval.windows=3"])
        try RunFolder(run, isWriter: true).create(config, job: "eval")
        try RunFolder("\(path)/eval,seed=1", isWriter: true).create(
            RunConfig(assignments: Self.common + ["training.seed=1"]), job: "eval")
        try RunRecord(job: "sweep").write(folder: path)
        try refusal(
            [
                "eval,seed=2: holds an unfinished run of eval with other settings: data.eval.windows was 3 and is 1",
                "--overwrite",
            ])
        try sweep(grid, overwrites: true)
        #expect(try rows().count == 2)
    }

    @Test(arguments: [
        ("{job: quantize, grid: {quantization.weights.bits: [16]}}", "quantization.weights.bits: is 16"),
        ("{job: quantize, settings: {quantization.weights: {bits: 4, method: stored}}}", "quantization.weights.method: stored"),
        ("{job: ptq, settings: {ternary.bits: 2}}", "ternary.bits: needs ternary.weighting"),
        ("{job: qat, settings: {ternary.weighting: inputs}}", "ternary.weighting: is for ptq"),
        ("{job: qat, settings: {qat.method: integer, ternary.path: f}}", "ternary.path: is for qat.method=ternary"),
    ])
    func `a run that its settings alone rule out is refused before the first one begins`(_ run: String, _ text: String) throws {
        let error = #expect(throws: AgreedError.self) { try sweep("runs:\n  - job: eval\n  - \(run)") }
        #expect(error?.exitCode == .configuration && error?.description.contains(text) == true, "\(error?.description ?? "")")
        #expect(PathKind(path) == .absent)
    }

    @Test func `a sweep of an earlier version goes on, whether it has ended or not`() throws {
        try sweep(grid)
        for names in [["run.json"], ["run.json", "sweep.csv", "sweep.json", "sweep.svg"]] {
            for name in names { try removeTree("\(path)/\(name)") }
            if names.count > 1 {
                try refusal(["holds files that belong to no run (eval,seed=1, eval,seed=2)"])
                try makeFolder("\(path)/.ledger")
            }
            let summary = try InputFile.contents(of: "\(path)/eval,seed=1/summary.json", limit: 1 << 20)
            try sweep(grid)
            #expect(try InputFile.contents(of: "\(path)/eval,seed=1/summary.json", limit: 1 << 20) == summary)
            #expect(PathKind("\(path)/run.json") == .file)
        }
    }

    @Test func `a later attempt overwrites nothing`() throws {
        try sweep(grid)
        let old = try contents()
        try sweep(grid, overwrites: true, run: "a")
        let new = try contents()
        #expect(new["eval,seed=1/summary.json"] != old["eval,seed=1/summary.json"])
        try sweep(grid, overwrites: true, attempt: 2, run: "a")
        #expect(try contents()["eval,seed=1/summary.json"] == new["eval,seed=1/summary.json"])
    }

    @Test func `what a run reads is not removed by overwriting`() throws {
        try sweep(grid)
        let text = "\(path)/eval,seed=1/config.yaml"
        try refusal(["data.eval.path (\(text)) is in this folder"], grid, ["data.eval.path=\(text)"], overwrites: true)
    }
}
