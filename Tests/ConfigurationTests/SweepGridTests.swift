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
        #expect(
            grid.runs[1].assignments == [
                "data.eval.path=a.txt", "quantization.weights.symmetric=false", "quantization.weights.bits=3",
                "quantization.weights.method=gptq",
            ])
        #expect(grid.runs[4].assignments == ["data.eval.path=a.txt"])
    }

    @Test(arguments: [
        ("", "asks for no runs"), ("runs: []", "asks for no runs"), ("jobs: []", "grid.yaml:1: unknown key 'jobs'"),
        ("runs: {job: ptq}", "grid.yaml:1: runs must be a list"), ("runs: [{grid: {a: [1]}}]", "has no job"),
        ("runs: [{job: ptq, grid: {a: []}}]", "an empty list"),
        ("runs: [{job: ptq, seeds: 3}]", "unknown key 'seeds'"),
        ("runs: [{job: ptq, grid: {a: [&x 1, *x]}}]", "without anchor or alias"),
        ("runs: [{job: ptq, grid: {a: [{b: 1}]}}]", "expected a plain value"),
        ("settings: {a.b: 1, a: {b: 2}}\nruns: [{job: ptq}]", "grid.yaml:1: the key 'a.b' is given twice"),
        ("runs: [{job: ptq, settings: {a: {b: 1}, a.b: 1}}]", "the key 'a.b' is given twice"),
    ])
    func `what is no grid is refused with its line`(text: String, reason: String) {
        #expect(problem(text).contains(reason), "\(problem(text))")
    }

    @Test func `runs whose job and grid are called alike have a number from the second on`() throws {
        let grid = try SweepGrid(
            "runs: [{job: ptq}, {job: ptq, settings: {b: 1}}, {job: ptq, grid: {a: [x/y, x-y, 'x-y,2', x y]}}]",
            name: "grid.yaml")
        #expect(grid.runs.map(\.name) == ["ptq", "ptq,2", "ptq,a=x-y", "ptq,a=x-y,2", "ptq,a=x-y,2,2", "ptq,a=x-y,3"])
        #expect(grid.runs.map(\.title) == ["ptq", "ptq (2)", "ptq x/y", "ptq x-y (2)", "ptq x-y,2 (2)", "ptq x y (3)"])
    }

    @Test func `the grids that come with the program are accepted`() throws {
        let folder =
            URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().path + "/configs/sweeps"
        let files = try FileManager.default.contentsOfDirectory(atPath: folder)
        #expect(!files.isEmpty)
        for file in files {
            for run in try SweepGrid(file: "\(folder)/\(file)").runs {
                _ = try SettingsRequest(assignments: run.assignments).configuration(job: run.job)
            }
        }
    }

    @Test func `a grid without end is refused before it is laid out`() {
        let values = "[" + (0..<100).map(String.init).joined(separator: ", ") + "]"
        #expect(problem("runs: [{job: ptq, grid: {a: \(values), b: \(values), c: \(values)}}]").contains("more than 10000"))
    }
}
