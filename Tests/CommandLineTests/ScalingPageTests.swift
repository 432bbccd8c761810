import Foundation
import Support
import TestSupport
import Testing

extension CommandLineTests {
    /// docs/scaling.md, whose tables are what its commands print.
    @Suite struct ScalingPage {
        private static let root = GoldenSuite.testsFolder + "/.."

        /// A row of a table, and the job and settings of the command above it.
        struct Row: Sendable, CustomStringConvertible {
            let settings: [String]
            /// Whether its seconds are those of the whole job.
            let isJob: Bool
            let cells: [String]
            var description: String { (settings.prefix(1) + cells).joined(separator: " | ") }
        }

        private static func rows() throws -> [Row] {
            let page = try String(contentsOfFile: root + "/docs/scaling.md", encoding: .utf8).replacing("\\\n", with: " ")
            var (rows, settings, isJob) = ([Row](), [String](), false)
            for line in page.split(separator: "\n") {
                if line.hasPrefix("#") { settings = [] }
                if line.hasPrefix("| ranks |") { isJob = line.contains("the job, s") }
                if line.hasPrefix("    JOB=") {
                    let words = line.dropFirst("    JOB=".count).split(separator: " ").map(String.init)
                    settings = ["plan.job=" + words[0]] + words.dropFirst().filter { $0 != "--set" }
                }
                let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
                // Tables of other things have no layout in their second column.
                guard !settings.isEmpty, cells.count == 5, Int(cells[0]) != nil, cells[1].contains("×") else { continue }
                rows.append(Row(settings: settings, isJob: isJob, cells: cells))
            }
            return rows
        }

        @Test func `there are tables`() throws { #expect(try Self.rows().count >= 40) }

        @Test(arguments: try Self.rows()) func `a row is what the plan predicts`(_ row: Row) throws {
            let ranks = try #require(Int(row.cells[0]))
            let (nodes, each) = ranks > 16 ? (ranks / 16, 16) : (1, ranks)
            let settings =
                [
                    "plan.nodes=\(nodes)", "plan.cores_per_node=\(each)", "plan.ranks_per_node=\(each)",
                    "plan.memory_per_node=1TiB", "data.sequence_length=1024",
                ] + row.settings
            let outcome = try Program.run(
                ["plan", "configs/llama-3-8b.json", "--json"] + settings.flatMap { ["--set", $0] }, in: Self.root)
            #expect(outcome.code == 0, "\(outcome.errors)")
            let best = try #require(try JSONValue(parsing: Array(outcome.output.utf8))["best"])
            func number(_ text: String) throws -> Double { try #require(Double(text.replacing(",", with: ""))) }
            let layout = ["data", "pipeline", "microbatches"].map { best[$0]?.integer.map(String.init) ?? "" }
            #expect(row.cells[1] == layout.joined(separator: " × "))
            let (step, hours) = (best["seconds_per_step"]?.number, best["hours"]?.number)
            let seconds = try row.isJob ? 3600 * #require(hours) : #require(step)
            #expect(abs(try number(row.cells[2]) - seconds) <= 0.006 * seconds, "\(seconds) s")
            let bytes = try #require(best["memory_bytes_per_stage"]?.array?.compactMap(\.integer).max())
            #expect(abs(try number(row.cells[4]) - Double(bytes) / 0x1p30) <= 0.06, "\(Double(bytes) / 0x1p30) GiB")
        }
    }
}
