import Foundation
import Support
import Testing

extension CommandLineTests {
    /// Runs that are killed, stopped, or asked to stop.
    @Suite struct Interruption {
        private let model: ModelFolder
        init() throws { model = try ModelFolder() }

        private func arguments(_ out: String, _ settings: [String]) -> [String] {
            ["rotate"] + model.arguments() + ["--out", out] + settings.flatMap { ["--set", $0] }
        }

        private func start(_ out: String, ranks: Int = 0, _ settings: [String]) throws -> Program.Running {
            try Program.start(arguments(out, settings), in: model.path, ranks: ranks)
        }

        /// A run of steps without end, with an end: a signal that is missed is a failure, not a wait.
        private static let endless = ["training.steps=1000000", "checkpoint.every=0"]
        /// Seconds within which a run must be gone: 3 on a machine at rest (0.6 measured), more where tests compete for it.
        private static let timeout = 60.0

        /// Returns once the run has taken this many steps.
        private func wait(_ out: String, steps: Int) throws {
            for _ in 0..<12_000 {
                if let lines = try? model.metrics(out).count, lines >= steps { return }
                usleep(10_000)
            }
            Issue.record("no \(steps) steps in two minutes")
        }

        /// Returns, once a run under launch has resumed so many times, after which step it has last; 0 without any.
        private func resumed(_ run: Program.Running, times: Int) throws -> Int {
            for _ in 0..<12_000 where run.isRunning {
                let parts = try run.output.components(separatedBy: "resumes after step ").dropFirst()
                if parts.count >= times { return parts.last.flatMap { Int($0.prefix { $0.isNumber }) } ?? 0 }
                usleep(10_000)
            }
            Issue.record("not resumed: \(try run.output)")
            return 0
        }

        /// The ranks that mpirun has started; of launch, mpirun.
        private func ranks(of mpirun: pid_t) throws -> [pid_t] {
            let text = try String(contentsOfFile: "/proc/\(mpirun)/task/\(mpirun)/children", encoding: .utf8)
            return text.split(separator: " ").compactMap { pid_t($0) }
        }

        /// One of the ranks, as soon as there are any; nil where the run ends first.
        private func startedRank(of run: Program.Running) -> pid_t? {
            while run.isRunning {
                let processes = (try? ranks(of: run.identifier)) ?? []
                // Before that they are copies of mpirun.
                let started = processes.filter {
                    (try? String(contentsOfFile: "/proc/\($0)/comm", encoding: .utf8)) == "sq-train\n"
                }
                if let rank = started.randomElement() { return rank }
                usleep(10_000)
            }
            return nil
        }

        /// Not ended yet; whoever adopts an ended process may take a while to bury it.
        private func isRunning(_ process: pid_t) -> Bool {
            // After the name in parentheses comes the state.
            let text = (try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8)) ?? ""
            return text.split(separator: ")").last.map { !$0.hasPrefix(" Z") } ?? false
        }

        @Test(arguments: [SIGTERM, SIGUSR1, SIGINT, SIGHUP])
        func `a run asked to stop saves itself, says by its code what asked, and goes on later`(_ signal: Int32) throws {
            for attempt in 1...2 {
                let run = try start("out", Self.endless)
                let before = (try? model.metrics("out").count) ?? 0
                try wait("out", steps: before + 3)
                run.send(signal)
                let outcome = try run.wait()
                #expect(outcome.code == (signal == SIGUSR1 ? 0 : 128 + signal), "\(outcome)")
                #expect(outcome.output.components(separatedBy: "stopped on request after step").count == 2, "\(outcome)")
                #expect(outcome.output.contains("resumes after step") == (attempt == 2))
            }
            let steps = try model.metrics("out", "step")
            #expect(steps == (0..<steps.count).map(Double.init))
        }

        @Test func `a run whose ranks are killed again and again ends as one that never was`() throws {
            // More than a quiet machine takes in the longest pause before a kill.
            let settings = ["training.steps=800", "checkpoint.every=4"]
            #expect(try start("whole", ranks: 2, settings).wait().code == 0)
            var kills = 0
            while kills < 8 {
                let run = try start("out", ranks: 2, settings)
                // Once while steps are taken, whatever the machine's speed; then anywhere.
                if kills == 0 { try wait("out", steps: 5) } else { usleep(UInt32.random(in: 250_000...900_000)) }
                if let victim = startedRank(of: run) { kill(victim, SIGKILL) }
                let started = Date()
                let outcome = try run.wait()
                if outcome.code == 0 { break }
                #expect(outcome.code == 137 || outcome.hasLostCode, "\(outcome)")
                #expect(Date().timeIntervalSince(started) < Self.timeout)
                kills += 1
            }
            #expect(kills > 0)
            #expect(try start("out", ranks: 2, settings).wait().code == 0)
            #expect(try model.results("out") == model.results("whole"))
            #expect(try model.metrics("out") == model.metrics("whole"))
        }

        @Test(arguments: [0, 2]) func `a second run into the folder of one that goes on is refused and touches nothing`(
            _ ranks: Int
        ) throws {
            let settings = ["training.steps=1000000", "checkpoint.every=0"]
            let run = try start("out", ranks: ranks, settings)
            try wait("out", steps: 3)
            let before = try (entries(ofFolder: model.file("out")), model.read("out/config.yaml"))
            try Program.expectRefusal(
                arguments("out", settings + ["training.seed=1"]), in: model.path, ranks: ranks, code: 78,
                fragment: "out: another run is writing", after: "out: another run is writing into this folder; waits")
            #expect(try before == (entries(ofFolder: model.file("out")), model.read("out/config.yaml")))
            run.send(SIGKILL)
            _ = try run.wait()
        }

        @Test func `a rank that hangs ends the run with 75 in time`() throws {
            let run = try start("out", ranks: 2, Self.endless + ["watchdog.step=6"])
            try wait("out", steps: 3)
            let victim = try #require(try ranks(of: run.identifier).last)
            kill(victim, SIGSTOP)
            let start = Date()
            let outcome = try run.wait()
            #expect(outcome.code == 75 || outcome.hasLostCode, "\(outcome)")
            #expect(Date().timeIntervalSince(start) < 6 + Self.timeout)
            #expect(
                outcome.errorLines.count == 1 && outcome.errors.contains("rank 1 has made no progress for 6"),
                "\(outcome.errors)")
            expectEnd(of: [victim], mpirun: run.identifier)
        }

        /// The other rank draws its sequences to the end and waits then, outside of any step.
        @Test func `a rank that hangs before the first step ends the run with 75, too`() throws {
            let settings = ["watchdog.step=6", "data.eval.path=sampled", "data.eval.windows=4000"]
            let run = try start("out", ranks: 2, settings)
            for _ in 0..<12_000 {
                if try run.output.contains("drawing") || !run.isRunning { break }
                usleep(10_000)
            }
            let victim = try #require(try ranks(of: run.identifier).last)
            kill(victim, SIGSTOP)
            let outcome = try run.wait()
            #expect(outcome.code == 75 || outcome.hasLostCode, "\(outcome)")
            #expect(
                outcome.errorLines.count == 1 && outcome.errors.contains("rank 1 has made no progress for 6"),
                "\(outcome.errors)")
        }

        /// One restart in a row is allowed, and what was saved in between makes it a new row.
        @Test func `launch starts a run again whose rank was killed, and the run goes on`() throws {
            let run = try Program.start(
                ["launch", "-n", "2", "--max-restarts", "1"]
                    + arguments("out", ["training.steps=300", "checkpoint.every=5"]) + ["--resume", "never"],
                in: model.path)
            for kills in 0..<2 {
                // Once the attempt after the last kill has saved something, too.
                try wait("out", steps: 11 + resumed(run, times: kills))
                let mpirun = try #require(try ranks(of: run.identifier).first)
                kill(try #require(try ranks(of: mpirun).last), SIGKILL)
            }
            let outcome = try run.wait()
            #expect(outcome.code == 0, "\(outcome)")
            let restarts = outcome.hasLostCode ? "; restart 1 of 1" : "exit code 137; restart 1 of 1"
            #expect(outcome.errors.components(separatedBy: restarts).count == 3, "\(outcome.errors)")
            #expect(outcome.output.components(separatedBy: "resumes after step").count == 3)
            #expect(try model.metrics("out", "step") == (0..<300).map(Double.init))
        }

        /// The processes end before the timeout does; what is left behind is named, and killed.
        private func expectEnd(of processes: [pid_t], mpirun: pid_t) {
            let start = Date()
            while processes.contains(where: isRunning), Date().timeIntervalSince(start) < Self.timeout { usleep(20_000) }
            for process in processes where isRunning(process) {
                Issue.record("\(process == mpirun ? "mpirun" : "a rank") is left behind")
                kill(process, SIGKILL)
            }
        }

        @Test func `when launch is killed, mpirun and the ranks go with it`() throws {
            let run = try Program.start(["launch", "-n", "2"] + arguments("out", Self.endless), in: model.path)
            try wait("out", steps: 3)
            let mpirun = try #require(try ranks(of: run.identifier).first)
            let processes = try [mpirun] + ranks(of: mpirun)
            #expect(processes.count == 3)
            run.send(SIGKILL)
            expectEnd(of: processes, mpirun: mpirun)
            #expect(try run.wait().code == 128 + SIGKILL)
        }

        /// A stand-in for an mpirun that hangs: deaf to what it gets when launch ends.
        @Test func `when launch is killed and mpirun does not end the ranks, they end it and themselves`() throws {
            let script = "#!/bin/sh\ntrap '' TERM\nwhile [ \"$1\" != none ]; do shift; done\nshift\n\"$@\" &\nwait\n"
            try model.write(script, to: "mpirun")
            chmod(model.file("mpirun"), 0o755)
            let path = model.path + ":" + (ProcessInfo.processInfo.environment["PATH"] ?? "")
            let run = try Program.start(
                ["launch", "-n", "1"] + arguments("out", Self.endless), in: model.path, environment: ["PATH": path])
            try wait("out", steps: 3)
            let mpirun = try #require(try ranks(of: run.identifier).first)
            let processes = try [mpirun] + ranks(of: mpirun)
            #expect(processes.count == 2)
            run.send(SIGKILL)
            expectEnd(of: processes, mpirun: mpirun)
            _ = try run.wait()
        }

        /// A stand-in for an mpirun that waits by an agent for a host which it has lost; its rank is its child, or on no
        /// machine that `launch` can see.
        @Test(arguments: [true, false]) func `a run whose ranks have ended goes on under launch, though mpirun stays`(
            _ isChild: Bool
        ) throws {
            let start = "sh -c 'echo $$ > rank; exec \"$@\"' -- \"$@\""
            let script = """
                #!/bin/sh
                while [ "$1" != none ]; do shift; done
                shift
                [ ! -e lost ] || exec "$@"
                touch lost
                \(isChild ? start : "(\(start) &)")
                sleep 1000 &
                wait

                """
            try model.write(script, to: "mpirun")
            chmod(model.file("mpirun"), 0o755)
            let path = model.path + ":" + (ProcessInfo.processInfo.environment["PATH"] ?? "")
            let run = try Program.start(
                ["launch", "-n", "1", "--max-restarts", "1"] + arguments("out", Self.endless + ["checkpoint.every=5"]),
                in: model.path, environment: ["PATH": path])
            try wait("out", steps: 11)
            let mpirun = try #require(try ranks(of: run.identifier).first)
            // The supervisor looks every second, or a little later where it has to wait for a core.
            usleep(4_000_000)
            let rank = String(decoding: try model.read("rank"), as: UTF8.self).filter { $0.isNumber }
            kill(try #require(pid_t(rank)), SIGKILL)
            expectEnd(of: [mpirun], mpirun: mpirun)
            for _ in 0..<12_000 where run.isRunning {
                if try run.output.contains("resumes after step") { break }
                usleep(10_000)
            }
            run.send(SIGTERM)
            let outcome = try run.wait()
            #expect(outcome.code == 128 + SIGTERM && outcome.output.contains("resumes after step"), "\(outcome)")
            #expect(outcome.errors.contains("exit code 75; restart 1 of 1"), "\(outcome.errors)")
        }

        @Test func `a folder has one supervisor, from its first attempt to its last`() throws {
            let launch = ["launch", "-n", "1", "--max-restarts", "2"]
            let run = try Program.start(launch + arguments("out", Self.endless + ["checkpoint.every=1"]), in: model.path)
            try wait("out", steps: 3)
            let before = try model.read("out/config.yaml")
            for command in [launch, []] {
                try Program.expectRefusal(
                    command + arguments("out", Self.endless), in: model.path, ranks: 0, code: 78,
                    fragment: "out: another run is writing")
            }
            // No rank holds the folder in the pause before the restart.
            let mpirun = try #require(try ranks(of: run.identifier).first)
            kill(try #require(try ranks(of: mpirun).first), SIGKILL)
            while try ranks(of: run.identifier).isEmpty == false { usleep(5000) }
            try Program.expectRefusal(
                arguments("out", Self.endless), in: model.path, ranks: 0, code: 78, fragment: "out: another run is writing")
            let steps = try model.metrics("out").count
            try wait("out", steps: steps + 3)
            #expect(try model.read("out/config.yaml") == before)
            run.send(SIGTERM)
            let outcome = try run.wait()
            #expect(outcome.code == 128 + SIGTERM && outcome.errors.contains("restart 1 of 2"), "\(outcome)")
            #expect(!(try entries(ofFolder: model.file("out")).contains("launch.lock")))
        }

        /// mpirun itself would leave the ranks a second.
        @Test(arguments: [0, 2]) func `a run under launch that gets SIGTERM saves itself and is not started again`(
            _ restarts: Int
        ) throws {
            let run = try Program.start(
                ["launch", "-n", "2", "--max-restarts", "\(restarts)"]
                    + arguments("out", ["training.steps=5000", "checkpoint.every=0"]),
                in: model.path)
            try wait("out", steps: 3)
            kill(run.identifier, SIGTERM)
            let outcome = try run.wait()
            #expect(outcome.code == 128 + SIGTERM && outcome.output.contains("stopped on request after step"), "\(outcome)")
            #expect(!outcome.errors.contains("restart"))
        }
    }
}
