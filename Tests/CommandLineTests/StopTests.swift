import Foundation
import HuggingFace
import Testing

extension CommandLineTests {
    /// Requests to stop outside of steps, and the second request.
    @Suite struct Stop {
        private let model: ModelFolder
        init() throws { model = try ModelFolder() }

        /// Seconds; the program itself answers within 7.
        private static let limit = 30.0

        private func start(_ job: String, launched: Int = 0, ranks: Int = 0, _ settings: [String]) throws -> Program.Running {
            let launch = launched > 0 ? ["launch", "-n", "\(launched)", "--max-restarts", "1"] : []
            return try Program.start(
                launch + [job] + model.arguments() + settings.flatMap { ["--set", $0] }, in: model.path, ranks: ranks)
        }

        /// Returns once the run has printed this.
        private func wait(_ run: Program.Running, for text: String) throws {
            for _ in 0..<12_000 {
                if try run.output.contains(text) { return }
                guard run.isRunning else { break }
                usleep(10_000)
            }
            Issue.record("'\(text)' was not printed: \(try run.output)")
        }

        private func stop(_ run: Program.Running, by signal: Int32, code: Int32) throws -> Program.Outcome {
            run.send(signal)
            let begin = Date()
            let outcome = try run.wait()
            #expect(Date().timeIntervalSince(begin) < Self.limit)
            #expect(outcome.code == code, "\(outcome)")
            #expect(outcome.output.components(separatedBy: "stopped on request").count == 2, "\(outcome)")
            #expect(outcome.errorLines.isEmpty && !outcome.errors.contains("restart"), "\(outcome)")
            #expect(!FileManager.default.fileExists(atPath: model.file("out/summary.json")))
            return outcome
        }

        /// An evaluation of minutes: windows drawn, and then scored.
        private static let long = ["data.eval.path=sampled", "data.eval.windows=20000"]

        @Test(arguments: [(0, SIGINT), (0, SIGUSR1), (2, SIGHUP), (2, SIGTERM), (2, SIGUSR1)])
        func `an evaluation before the first step is left`(_ launched: Int, _ signal: Int32) throws {
            let run = try start("rotate", launched: launched, Self.long)
            try wait(run, for: "drawing")
            let outcome = try stop(run, by: signal, code: signal == SIGUSR1 ? 0 : 128 + signal)
            #expect(outcome.output.contains("before anything was saved"))
        }

        @Test func `mpirun passes SIGUSR1 on, and all ranks end with 0`() throws {
            let run = try start("eval", ranks: 2, Self.long)
            try wait(run, for: "drawing")
            _ = try stop(run, by: SIGUSR1, code: 0)
        }

        @Test func `one rank that is asked stops all`() throws {
            let run = try start("eval", launched: 2, Self.long)
            try wait(run, for: "drawing")
            let mpirun = try #require(try Self.children(of: run.identifier).first)
            kill(try #require(try Self.children(of: mpirun).last), SIGTERM)
            let outcome = try run.wait()
            #expect(outcome.code == 128 + SIGTERM)
            #expect(outcome.output.components(separatedBy: "stopped on request").count == 2, "\(outcome)")
            #expect(!outcome.errors.contains("restart"))
        }

        @Test func `a second request ends a run at once`() throws {
            for launched in [0, 2] {
                // Steps that never end: the first request waits for the checkpoint.
                let run = try start("rotate", launched: launched, Self.long)
                try wait(run, for: "drawing")
                run.send(SIGTERM)
                usleep(500_000)
                run.send(SIGTERM)
                #expect(try run.wait().code == 128 + SIGTERM)
                try FileManager.default.removeItem(atPath: model.file("out"))
            }
        }

        /// As `timeout` and closing terminals do.
        @Test func `a request that comes twice at the same moment is one`() throws {
            // Where the machine lets the second wait for longer than a moment it is another one: then once more.
            for attempt in 1...3 {
                let run = try start("rotate", ["training.steps=1000000", "checkpoint.every=0"])
                try wait(run, for: "/1000000")
                run.send(SIGTERM)
                usleep(20_000)
                run.send(SIGTERM)
                let outcome = try run.wait()
                #expect(outcome.code == 128 + SIGTERM && outcome.errorLines.isEmpty, "\(outcome)")
                if outcome.output.contains("stopped on request after step") { break }
                #expect(attempt < 3, "\(outcome)")
            }
        }

        @Test func `a reader that leaves lets the run save itself`() throws {
            let script = "\"$0\" \(arguments.joined(separator: " ")) | head -1; exit ${PIPESTATUS[0]}"
            let outcome = try Program.shell(script, in: model.path)
            #expect(outcome.code == 141 && outcome.errors.contains("stopped on request"), "\(outcome)")
        }

        private var arguments: [String] {
            ["rotate"] + model.arguments() + ["training.steps=1000000", "checkpoint.every=0"].flatMap { ["--set", $0] }
        }

        private static func children(of process: pid_t) throws -> [pid_t] {
            let text = try String(contentsOfFile: "/proc/\(process)/task/\(process)/children", encoding: .utf8)
            return text.split(separator: " ").compactMap { pid_t($0) }
        }
    }
}
