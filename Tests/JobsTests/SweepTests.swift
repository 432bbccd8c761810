import Collectives
import Configuration
import EmbeddedModel
import Foundation
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
        try #require(rows.count == 3)
        let summary = try InputFile.json(folder.file("sweep/quantize,bits=3/summary.json"))
        #expect(rows[0]["perplexity"]?.number == summary["rows"]?.array?.last?["perplexity"]?.number)
        let bits = try rows.prefix(2).map { try #require($0["bits_per_weight"]?.number) }
        #expect(bits[0] < bits[1])
        #expect(rows[2]["failure"]?.string?.contains("nowhere") == true && rows[2]["perplexity"] == nil)
        #expect(rows[2]["model"]?.string == "nowhere" && rows[0]["model"]?.string == EmbeddedModel.path)
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

    @Test func `no run is taken any more once some ranks were asked to stop`() throws {
        let ledger = SweepLedger(in: folder.path)
        try ledger.begin()
        #expect(try ledger.take(from: 0..<3) == 0)
        ledger.stop()
        #expect(try ledger.take(from: 0..<3) == nil)
        try ledger.begin()
        #expect(try ledger.take(from: 0..<3) == 0)
    }

    @Test func `a run whose loss overflows is a row, and the others go ahead`() throws {
        let text = """
            settings: {training.steps: 6, training.optimizer: sgd, optimizer.clip_norm: none}
            runs: [{job: train, grid: {training.learning_rate: [1e6, 0.01]}}]
            """
        let error = #expect(throws: AgreedError.self) { try sweep(text) }
        #expect(error?.description.contains("is not finite") == true)
        let rows = try #require(try InputFile.json(folder.file("sweep/sweep.json")).array)
        try #require(rows.count == 2)
        #expect(rows[0]["failure"]?.string == error?.description)
        #expect(rows[1]["perplexity"]?.number?.isFinite == true)
    }

    @Test func `of a model with nothing made of it, what counts is its own rounding, and each row says what was scored`() throws
    {
        try sweep("runs: [{job: eval, settings: {quantization.weights.bits: 4}, grid: {eval.hadamard: [false, true]}}]")
        let rows = try #require(try InputFile.json(folder.file("sweep/sweep.json")).array)
        let plain = try InputFile.json(folder.file("sweep/eval,hadamard=false/summary.json"))
        #expect(plain["rows"]?.array?.last?["key"]?.string == "rtn_folded" && plain["result"]?.string == "rtn")
        #expect(rows[0]["perplexity"] == plain["perplexity"]?["rtn"])
        #expect(plain["perplexity"]?["rtn"] != plain["perplexity"]?["rtn_folded"])
        #expect(rows.map { $0["label"]?.string } == ["round to nearest", "Hadamard"])
        let csv = String(decoding: try InputFile.contents(of: folder.file("sweep/sweep.csv"), limit: 1 << 16), as: UTF8.self)
        #expect(csv.contains(",label,perplexity,") && csv.contains(",round to nearest,"))
    }

    @Test func `the table names what was scored, in 80 columns, with nothing of a long name lost`() throws {
        let path = "a/folder/with/a/long/name/and/" + String(repeating: "more", count: 10)
        let grid = try SweepGrid(
            file: gridFile("runs: [{job: rotate, grid: {model.path: [\(path), b], rotation.r1: [learned]}}]"))
        for runs in [grid.runs, Array(grid.runs.suffix(1))] {
            var report = SweepReport(grid)
            for run in runs {
                let summary = """
                    {"model": "m", "result": "x", "rows": [{"key": "x", "label": "round to nearest, balanced, norms folded",
                     "perplexity": 123456.78, "kl_divergence": 0.25, "bits_per_weight": 16, "bytes": 123456789},
                     {"key": "y", "label": "other", "perplexity": 1}]}
                    """
                try AtomicFile.write(summary, to: folder.file("summary.json"))
                try report.add(run, summary: folder.file("summary.json"))
            }
            let lines = report.table.split(separator: "\n")
            #expect(lines.allSatisfy { $0.count <= 80 }, "\(report.table)")
            let table = report.table
            #expect(!table.contains("other") && table.contains("123456.78"))
            // Cells of the first column, one below the other.
            let names = lines.map { $0.prefix(20).filter { $0 != " " } }.joined()
            for run in runs { #expect(names.contains(run.title.filter { $0 != " " })) }
            for word in ["round", "nearest,", "balanced,", "folded"] { #expect(table.contains(word)) }
        }
    }

    @Test func `runs that are the same but for how their values are written are refused`() throws {
        for same in [
            "{job: ptq, grid: {ternary.tolerance: [0.3, 0.30]}}", "{job: ptq}, {job: ptq}",
            "{job: ptq, grid: {ternary.tolerance: [0.1]}}, {job: ptq}",
        ] {
            let error = #expect(throws: AgreedError.self, "\(same)") { try sweep("runs: [\(same)]") }
            #expect(error?.description.contains("is the same run as ptq") == true)
            #expect(PathKind(folder.file("sweep")) == .absent)
        }
    }

    @Test func `entries that differ in settings alone have folders and rows of their own`() throws {
        let text = "runs: [{job: eval}, {job: eval, settings: {quantization.weights.bits: 3}}]"
        try sweep(text)
        let rows = try #require(try InputFile.json(folder.file("sweep/sweep.json")).array)
        #expect(rows.map { $0["run"]?.string } == ["eval", "eval,bits=3"])
        #expect(rows[1]["quantization.weights.bits"]?.string == "3")
        #expect(rows[0]["perplexity"] != rows[1]["perplexity"])
        #expect(PathKind(folder.file("sweep/eval,bits=3/summary.json")) == .file)
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

    @Test func `a model has one front, by whatever path it is given`() throws {
        for name in ["a", "b"] { try makeFolder(folder.file(name)) }
        let grid = try SweepGrid(file: gridFile("runs: [{job: eval, grid: {training.seed: [1, 2, 3]}}]"))
        var report = SweepReport(grid)
        for (run, (model, bits)) in zip(grid.runs, [("a", 2.0), ("b/../a", 3.0), ("b", 3.0)]) {
            let summary = """
                {"model": "\(folder.path)/\(model)", "rows": [{"label": "x", "perplexity": 30, "bits_per_weight": \(bits)}]}
                """
            try AtomicFile.write(summary, to: folder.file("summary.json"))
            try report.add(run, summary: folder.file("summary.json"))
        }
        report.markFront()
        #expect(report.rows.map(\.model) == ["a", "a", "b"].map { folder.file($0) })
        #expect(report.rows.map(\.isOnFront) == [true, false, true])
        let same = "{job: eval, grid: {model.path: [\(folder.path)/a, \(folder.path)/b/../a]}}"
        let error = #expect(throws: AgreedError.self) { try sweep("runs: [\(same)]") }
        #expect(error?.description.contains("is the same run as eval") == true)
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
        let runs = [(2.0, 30.0), (3.0, 31.0), (3.0, 25.0), (4.0, 25.0)]
        let report = try report(runs.map { (bits: $0.0, perplexity: $0.1, more: "\"model\": \"m\"") })
        #expect(report.rows.map(\.isOnFront) == [true, false, true, false])
        #expect(SweepChart(report.rows).svg.contains("<path d=\"M"))
    }

    @Test func `the front is what its definition says, also of runs that are as good with as many bits`() throws {
        let runs = (0..<60).map { run in
            let seed = run % 40
            let (bits, perplexity) = (2 + seed * 7 % 5, 20 + seed * seed * 3 % 7 + seed % 2)
            return (bits: Double(bits), perplexity: Double(perplexity), more: "\"model\": \"\(seed % 3)\"")
        }
        let rows = try report(runs).rows
        for row in rows {
            let own = try #require(row.point)
            let isBeaten = rows.contains { other in
                guard other.model == row.model, let point = other.point, point != own else { return false }
                return point.bits <= own.bits && point.perplexity <= own.perplexity
            }
            #expect(row.isOnFront == !isBeaten)
        }
        #expect(Set(rows.map(\.isOnFront)).count == 2)
    }

    @Test func `the folder may be named in a file of settings`() throws {
        try AtomicFile.write("out: \(folder.file("named"))/\n", to: folder.file("settings.yaml"))
        try AtomicFile.write("runs: [{job: eval, settings: {training.steps: 300}}]", to: folder.file("grid.yaml"))
        let settings = SettingsRequest(
            file: folder.file("settings.yaml"),
            assignments: [
                "data.sequence_length=16", "data.eval.windows=1", "eval.compare=false", "training.warmup_steps=200",
            ])
        try SweepJob(folder.file("grid.yaml")).run(
            JobRequest(settings, resume: .auto), Reporter(isSpeaking: false), on: LoopbackCommunicator())
        #expect(PathKind(folder.file("named/eval/summary.json")) == .file)
    }

    /// A report of runs with one row each, of as many bits and as good as given, and with what else their summaries say.
    private func report(_ runs: [(bits: Double, perplexity: Double, more: String)]) throws -> SweepReport {
        let seeds = runs.indices.map(String.init).joined(separator: ", ")
        let grid = try SweepGrid(file: gridFile("runs: [{job: eval, grid: {training.seed: [\(seeds)]}}]"))
        var report = SweepReport(grid)
        for (run, made) in zip(grid.runs, runs) {
            let row = "{\"label\": \"x\", \"perplexity\": \(made.perplexity), \"bits_per_weight\": \(made.bits)}"
            try AtomicFile.write("{\"rows\": [\(row)], \(made.more)}", to: folder.file("summary.json"))
            try report.add(run, summary: folder.file("summary.json"))
        }
        report.markFront()
        return report
    }

    @Test func `windows of one text have fronts of their own, where all runs on it tell them`() throws {
        func data(_ windows: String?) -> String {
            let digest = windows.map { ", \"windows_sha256\": \"\($0)\"" } ?? ""
            return "\"model\": \"m\", \"data\": {\"eval\": {\"sha256\": \"a\"\(digest)}}"
        }
        func fronts(_ windows: [String?]) throws -> [Bool] {
            try report(zip([(4, 30), (4, 31)], windows).map { ($0.0, $0.1, data($1)) }).rows.map(\.isOnFront)
        }
        #expect(try fronts(["x", "y"]) == [true, true] && fronts(["x", "x"]) == [true, false])
        #expect(try fronts(["x", nil]) == [true, false] && fronts([nil, nil]) == [true, false])
    }

    @Test func `runs that were scored on other windows have a front of their own`() throws {
        func data(_ text: String, _ length: Int = 64) -> String {
            "\"model\": \"m\", \"seed\": 3, \"data\": {\"sequence_length\": \(length), \"eval\": \(text), \"dropped_bytes\": 1}"
        }
        func file(_ path: String, _ digest: String, _ windows: Int) -> String {
            "{\"path\": \"\(path)\", \"sha256\": \"\(digest)\", \"windows\": \(windows)}"
        }
        let (easy, hard) = (data(file("a", "1", 20)), data(file("b", "2", 20)))
        // The easy text would beat the hard one; by another path it is the same text.
        for other in [
            hard, data(file("a", "1", 40)), data(file("a", "1", 20), 32), data("{\"windows\": 20}"),
            easy.replacing("\"m\"", with: "\"n\""),
        ] {
            let report = try report([(3, 20, easy), (4, 19, easy), (3, 22, other), (4, 23, other)])
            #expect(report.rows.map(\.isOnFront) == [true, true, true, false], "\(other)")
            #expect(SweepChart(report.rows).svg.components(separatedBy: "stroke=\"#b1bac4\"").count == 3)
        }
        let same = data(file("./a", "1", 20)).replacing("\"seed\": 3", with: "\"seed\": 4")
        #expect(try report([(3, 20, easy), (3, 22, same)]).rows.map(\.isOnFront) == [true, false])
        let drawn = data("{\"windows\": 20}")
        let otherSeed = drawn.replacing("\"seed\": 3", with: "\"seed\": 4")
        #expect(try report([(3, 20, drawn), (3, 22, drawn)]).rows.map(\.isOnFront) == [true, false])
        #expect(try report([(3, 20, drawn), (3, 22, otherSeed)]).rows.map(\.isOnFront) == [true, true])
    }

    @Test(arguments: [",\u{301}", "\r\n", "\"\u{301}", "\n", "\r", "\""]) func `a field of the table is quoted by its bytes`(
        _ mark: String
    ) throws {
        let path = "m\(mark)z"
        let name = JSONValue.string(path).text(.compact)
        let csv = try report([(3, 20, "\"model\": \(name)")]).csv
        let quote: [UInt8] = [UInt8(ascii: "\"")]
        let doubled = Array(path.utf8).flatMap { quote == [$0] ? quote + quote : [$0] }
        let field = Array(",eval,".utf8) + quote + doubled + quote + Array(",".utf8)
        #expect(Array(csv.utf8).firstRange(of: field) != nil, "\(csv)")
    }

    private func gridFile(_ text: String) throws -> String {
        try AtomicFile.write(text, to: folder.file("grid.yaml"))
        return folder.file("grid.yaml")
    }
}
