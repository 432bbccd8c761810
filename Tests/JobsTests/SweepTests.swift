import Collectives
import Configuration
import EmbeddedModel
import Runs
import Support
import TestSupport
import Testing

@testable import Jobs

@Suite struct SweepTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func sweep(_ text: String, _ more: [String] = []) throws {
        try AtomicFile.write(text, to: folder.file("grid.yaml"))
        let settings = SettingsRequest(
            assignments: [
                "out=\(folder.file("sweep"))", "data.sequence_length=16", "data.eval.windows=1", "eval.compare=false",
            ] + more)
        try SweepJob(folder.file("grid.yaml")).run(
            JobRequest(settings, resume: .auto), Reporter(isSpeaking: false), on: LoopbackCommunicator())
    }

    @Test func `each run has a row with the last row of its table, and a run that fails says why`() throws {
        let text = """
            runs:
              - job: quantize
                grid: {quantization.weights.bits: [3, 8]}
              - job: eval
                grid: {model.path: [nowhere/]}
            """
        #expect(throws: AgreedError.self) { try sweep(text) }
        let rows = try #require(try InputFile.json(folder.file("sweep/sweep.json")).array)
        #expect(rows.count == 3)
        let summary = try InputFile.json(folder.file("sweep/quantize,bits=3/summary.json"))
        #expect(rows[0]["perplexity"]?.number == summary["rows"]?.array?.last?["perplexity"]?.number)
        let bits = try rows.prefix(2).map { try #require($0["bits_per_weight"]?.number) }
        #expect(bits[0] < bits[1])
        #expect(rows[2]["failure"]?.string?.contains("nowhere") == true && rows[2]["perplexity"] == nil)
        let csv = try InputFile.contents(of: folder.file("sweep/sweep.csv"), limit: 1 << 16)
        #expect(csv.count { $0 == UInt8(ascii: "\n") } == 4)
        let picture = try InputFile.contents(of: folder.file("sweep/sweep.svg"), limit: 1 << 20)
        for text in [csv, picture] { #expect(text.firstRange(of: Array(ProgramVersion.name.utf8)) != nil) }
        #expect(rows.allSatisfy { $0["program"]?.string == ProgramVersion.name })
        // Finished runs are not made again: their summaries stay.
        let written = try InputFile.contents(of: folder.file("sweep/quantize,bits=3/summary.json"), limit: 1 << 16)
        #expect(throws: AgreedError.self) { try sweep(text) }
        #expect(try InputFile.contents(of: folder.file("sweep/quantize,bits=3/summary.json"), limit: 1 << 16) == written)
    }

    @Test func `a run that could not begin is refused before the first one begins`() throws {
        for wrong in ["- {job: quantize, grid: {quantization.weights.bits: [3, 1]}}", "- job: watch"] {
            #expect(throws: AgreedError.self) { try sweep("runs:\n  - job: eval\n  \(wrong)") }
            #expect(PathKind(folder.file("sweep")) == .absent)
        }
    }

    @Test func `what a grid varies is not given for all runs as well, nor a folder for each`() throws {
        let text = "runs: [{job: quantize, grid: {quantization.weights.bits: [3, 8]}}]"
        let error = #expect(throws: AgreedError.self) { try sweep(text, ["quantization.weights.bits=4"]) }
        #expect(error?.description.contains("quantization.weights.bits: is varied") == true)
        let placed = #expect(throws: AgreedError.self) { try sweep("runs: [{job: eval, settings: {out: elsewhere}}]") }
        #expect(placed?.description.contains("--out") == true)
        #expect(PathKind(folder.file("sweep")) == .absent)
    }

    @Test func `a model that was trained has numbers, too`() throws {
        try sweep("runs: [{job: train}]", ["training.steps=1", "training.batch_size=1", "data.sampled_sequences=4"])
        let row = try #require(try InputFile.json(folder.file("sweep/sweep.json")).array?.first)
        let summary = try InputFile.json(folder.file("sweep/train/summary.json"))
        #expect(try #require(row["perplexity"]?.number) == summary["perplexity"]?["trained"]?.number)
        #expect(row["bits_per_weight"]?.number == 16 && row["label"]?.string == "trained")
        #expect(row["bytes"]?.integer == summary["model_bytes"]?.integer)
    }

    @Test func `a folder that another sweep goes through is left alone`() throws {
        try makeFolder(folder.file("sweep"))
        let lock = try FolderLock(folder.file("sweep"))
        let error = #expect(throws: AgreedError.self) {
            try withExtendedLifetime(lock) { try sweep("runs: [{job: eval, grid: {training.seed: [1]}}]") }
        }
        #expect(error?.exitCode == .configuration && error?.description.contains("another run is writing") == true)
        #expect(try entries(ofFolder: folder.file("sweep")) == ["run.lock"])
    }

    @Test func `the front holds what no other run of the model beats in both`() throws {
        let grid = try SweepGrid(file: gridFile("runs: [{job: eval, grid: {training.seed: [1, 2, 3, 4]}}]"))
        var report = SweepReport(grid)
        for (run, (bits, perplexity)) in zip(grid.runs, [(2.0, 30.0), (3.0, 31.0), (3.0, 25.0), (4.0, 25.0)]) {
            let summary = """
                {"model": "m", "rows": [{"label": "x", "perplexity": \(perplexity), "bits_per_weight": \(bits)}]}
                """
            try AtomicFile.write(summary, to: folder.file("summary.json"))
            try report.add(run, summary: folder.file("summary.json"))
        }
        #expect(report.rows.map(\.isOnFront) == [true, false, true, false])
        #expect(SweepChart(report.rows).svg.contains("<path d=\"M"))
    }

    private func gridFile(_ text: String) throws -> String {
        try AtomicFile.write(text, to: folder.file("grid.yaml"))
        return folder.file("grid.yaml")
    }
}
