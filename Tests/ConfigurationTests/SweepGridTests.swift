import Foundation
import Testing

@testable import Configuration

@Suite struct SweepGridTests {
    private func problem(_ text: String) -> String {
        do throws(ConfigurationError) {
            _ = try SweepGrid(text, name: "grid.yaml")
            return "accepted"
        } catch { return error.description }
    }

    @Test func `a grid is every combination, the last key's values changing first, over its own and common settings`() throws {
        let grid = try SweepGrid(
            """
            settings: {data: {eval.path: a.txt}}
            runs:
              - job: quantize
                settings: {quantization.weights.symmetric: false}
                grid: {quantization.weights.bits: [3, 4], quantization.weights.method: [rtn, gptq]}
              - job: eval
            """, name: "grid.yaml")
        #expect(
            grid.runs.map(\.name) == [
                "quantize,bits=3,method=rtn", "quantize,bits=3,method=gptq", "quantize,bits=4,method=rtn",
                "quantize,bits=4,method=gptq", "eval",
            ])
        let expected = [
            "data.eval.path": "a.txt", "quantization.weights.symmetric": "false", "quantization.weights.bits": "3",
            "quantization.weights.method": "gptq",
        ]
        #expect(grid.runs[1].settings.mapValues(\.text) == expected)
        #expect(grid.runs[4].settings.mapValues(\.text) == ["data.eval.path": "a.txt"])
    }

    @Test(arguments: [
        ("", "asks for no runs"), ("runs: []", "asks for no runs"), ("jobs: []", "grid.yaml:1: unknown key 'jobs'"),
        ("runs: {job: ptq}", "grid.yaml:1: runs must be a list"), ("runs: [{grid: {a: [1]}}]", "has no job"),
        ("runs: [{job: ptq, grid: {a: []}}]", "an empty list"),
        ("runs: [{job: ptq, seeds: 3}]", "unknown key 'seeds'"),
        ("runs: [{job: ptq, grid: {a: [&x 1, *x]}}]", "anchors (&name)"), ("runs: [{&x job: ptq}]", "anchors"),
        ("runs: &x [{job: ptq}]", "anchors"), ("runs:\n  - &x {job: ptq}\n  - *x", "grid.yaml:2: anchors"),
        ("runs: [{job: ptq, grid: {a: &x [1]}}]", "anchors"), ("settings: &x {a: 1}\nruns: [{job: ptq}]", "anchors"),
        ("runs: [{job: ptq, grid: &x {a: 1}}]", "anchors"), ("runs: [{job: !!str ptq}]", "tags (tag:yaml.org,2002:str)"),
        ("runs: !!seq [{job: ptq}]", "tags"), ("runs: [!x {job: ptq}]", "tags (!x)"), ("runs: [{!x job: ptq}]", "tags"),
        ("!!map {runs: [{job: ptq}]}", "tags"), ("runs: [{job: ptq, grid: {a: !x [1]}}]", "tags"),
        ("runs: [{job: ptq, grid: {a: [!!int 1]}}]", "tags"), ("runs: [{job: ptq, settings: {a: !x {b: 1}}}]", "tags"),
        ("runs: [{job: ptq, grid: {a: [{b: 1}]}}]", "expected a plain value"),
        ("settings: {a.b: 1, a: {b: 2}}\nruns: [{job: ptq}]", "grid.yaml:1: the key 'a.b' is given twice"),
        ("runs: [{job: ptq, settings: {a: {b: 1}, a.b: 1}}]", "the key 'a.b' is given twice"),
        ("runs:\n  - {job: ptq, settings: {out: a}}", "grid.yaml:2: out: each run has a folder"),
        ("runs:\n  - job: ptq\n    grid: {out: [a]}", "grid.yaml:3: out: each run has a folder"),
    ])
    func `what is no grid is refused with its line`(text: String, reason: String) {
        #expect(problem(text).contains(reason), "\(problem(text))")
    }

    @Test func `runs whose values are called alike have a number from the second on`() throws {
        let grid = try SweepGrid("runs: [{job: ptq, grid: {a: [x/y, x-y, 'x-y,2', x y]}}]", name: "grid.yaml")
        #expect(grid.runs.map(\.name) == ["ptq,a=x-y", "ptq,a=x-y,2", "ptq,a=x-y,2,2", "ptq,a=x-y,3"])
        #expect(grid.runs.map(\.title) == ["ptq x/y", "ptq x-y (2)", "ptq x-y,2 (2)", "ptq x y (3)"])
    }

    private func names(_ runs: String) throws -> [String] {
        try SweepGrid("runs: [\(runs)]", name: "grid.yaml").runs.map(\.name)
    }

    @Test func `entries that differ in settings alone are named by what differs, wherever they stand`() throws {
        func entry(_ bits: Int) -> String { "{job: quantize, settings: {w.symmetric: true, w: {bits: \(bits)}}}" }
        #expect(try names(entry(3)) == ["quantize"])
        #expect(try names("\(entry(3)), \(entry(4))") == ["quantize,bits=3", "quantize,bits=4"])
        let three = [8, 4, 3].map(entry).joined(separator: ", ")
        #expect(try names(three) == ["quantize,bits=8", "quantize,bits=4", "quantize,bits=3"])
        // One without the setting; one with other settings, too; one whose grid tells it from them.
        #expect(try names("{job: quantize}, {job: quantize, settings: {w.bits: 4}}") == ["quantize", "quantize,bits=4"])
        #expect(
            try names("\(entry(3)), {job: quantize, settings: {w.bits: 3}, grid: {a: [1, 2]}}, {job: quantize}") == [
                "quantize,symmetric=true,bits=3", "quantize,a=1", "quantize,a=2", "quantize",
            ])
        // All runs of an entry, also those that no other is called like, and a grid's own value once.
        let alike = "{job: ptq, settings: {b: 1, c: 1}, grid: {a: [1, 2]}}, {job: ptq, settings: {b: 2, a: 1}, grid: {a: [2]}}"
        #expect(try names(alike) == ["ptq,b=1,c=1,a=1", "ptq,b=1,c=1,a=2", "ptq,b=2,a=2"])
        // Where all of it is the same, a number is left.
        #expect(try names("{job: ptq}, {job: ptq}, {job: eval}") == ["ptq", "ptq,2", "eval"])
        let grid = try SweepGrid("runs: [\(entry(3)), \(entry(4))]", name: "grid.yaml")
        #expect(grid.runs.map(\.title) == ["quantize 3", "quantize 4"])
        #expect(grid.runs.map { $0.varied.map(\.key) } == [["w.bits"], ["w.bits"]])
    }

    @Test func `runs get the names of the folders that hold them, and others none of these`() throws {
        func placed(_ folders: [[String]]) throws -> [String] {
            var grid = try SweepGrid(
                "runs: [{job: ptq}, {job: ptq, settings: {b: 1}}, {job: ptq, settings: {b: 2}}]", name: "grid.yaml")
            grid.place(in: folders)
            return grid.runs.map(\.name)
        }
        #expect(try placed([[], [], []]) == ["ptq", "ptq,b=1", "ptq,b=2"])
        #expect(try placed([["a"], [], ["ptq,3"]]) == ["a", "ptq,b=1", "ptq,3"])
        // Its own name goes before another's; a folder is one run's.
        #expect(try placed([["a", "ptq"], [], []]) == ["ptq", "ptq,b=1", "ptq,b=2"])
        #expect(try placed([["a"], ["a"], ["a"]]) == ["a", "ptq,b=1", "ptq,b=2"])
        #expect(try placed([[], ["ptq"], ["ptq,2"]]) == ["ptq,3", "ptq", "ptq,2"])
    }

    @Test(arguments: [
        ("settings: {training.steps: x}\nruns: [{job: ptq}]", "grid.yaml:1: training.steps: 'x' is not accepted"),
        ("runs:\n  - job: ptq\n    settings:\n      training:\n        step: 1", "grid.yaml:5: unknown key 'training.step'"),
        ("runs:\n  - job: ptq\n    grid:\n      training.steps: [~]", "grid.yaml:4: training.steps: '~' is not accepted"),
        ("runs:\n  - job: ptq\n    grid:\n      training.steps:\n        - 1\n        - x", "grid.yaml:6: training.steps: 'x'"),
    ])
    func `a value that is not accepted is told with its place in the file`(_ text: String, _ problem: String) throws {
        let grid = try SweepGrid(text, name: "grid.yaml")
        let error = #expect(throws: ConfigurationError.self) {
            for run in grid.runs {
                var request = SettingsRequest(assignments: ["training.seed=3"])
                request.run = run
                _ = try request.configuration(job: run.job)
            }
        }
        #expect(error?.description.hasPrefix(problem) == true, "\(error?.description ?? "")")
    }

    @Test func `a run's settings are over the file's and under the command line's, and of no effect if only its job has them`()
        throws
    {
        let grid = try SweepGrid(
            """
            settings: {training.seed: 1, training.steps: 2, eval.limit: 3}
            runs:
              - {job: train, settings: {training.steps: 3, training.batch_size: 4, eval.hadamard: true}}
            """, name: "grid.yaml")
        var request = SettingsRequest(assignments: ["training.batch_size=5"])
        request.run = grid.runs[0]
        var warnings: [String] = []
        let config = try request.configuration(job: "train") { warnings.append($0) }
        #expect(config.training.seed == 1 && config.training.steps == 3 && config.training.batchSize == 5)
        #expect(warnings.count == 1 && warnings[0].hasPrefix("grid.yaml:3: eval.hadamard: has no effect here"), "\(warnings)")
    }

    @Test func `the grids that come with the program are accepted`() throws {
        let folder =
            URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().path + "/configs/sweeps"
        let files = try FileManager.default.contentsOfDirectory(atPath: folder)
        #expect(!files.isEmpty)
        for file in files {
            for run in try SweepGrid(file: "\(folder)/\(file)").runs {
                var request = SettingsRequest()
                request.run = run
                _ = try request.configuration(job: run.job)
            }
        }
    }

    @Test func `a grid without end is refused before it is laid out`() {
        let values = "[" + (0..<100).map(String.init).joined(separator: ", ") + "]"
        #expect(problem("runs: [{job: ptq, grid: {a: \(values), b: \(values), c: \(values)}}]").contains("more than 10000"))
        let entries = Array(repeating: "  - {job: ptq, grid: {a: \(values), b: \(values)}}\n", count: 20).joined()
        #expect(problem("runs:\n" + entries).hasPrefix("grid.yaml:3: makes, with those before, more than 10000 runs"))
    }
}
