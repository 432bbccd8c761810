import Foundation
import Support
import TestSupport
import Testing

extension CommandLineTests {
    @Suite struct Watch {
        /// A run long enough to be joined, on two ranks, whose end is up to the test.
        private func start(_ model: ModelFolder, _ settings: [String]) throws -> Program.Running {
            let long = ["training.steps=1000000", "ternary.tolerance=0.3", "ternary.layers=*.0.mlp.*"] + settings
            return try Program.start(["qat"] + model.arguments() + long.flatMap { ["--set", $0] }, in: model.path, ranks: 2)
        }

        /// The endpoint that a run names.
        private func endpoint(of run: Program.Running) throws -> String {
            let deadline = Date() + 120
            while Date() < deadline {
                let lines = try run.output.split(separator: "\n")
                if let line = lines.first(where: { $0.hasPrefix("watch this run") }), let last = line.split(separator: " ").last
                {
                    return String(last)
                }
                usleep(20_000)
            }
            throw CocoaError(.featureUnsupported)
        }

        private func events(_ watch: Program.Running) throws -> [JSONValue] {
            try watch.output.split(separator: "\n").compactMap { try? JSONValue(parsing: Array($0.utf8)) }
        }

        /// Waits until the monitor has printed events of all these keys.
        private func expectEvents(_ keys: Set<String>, _ watch: Program.Running) throws {
            let deadline = Date() + 120
            var seen: Set<String> = []
            while Date() < deadline, !keys.isSubset(of: seen) {
                seen = Set(try events(watch).compactMap { $0["event"]?.string })
                usleep(20_000)
            }
            #expect(keys.isSubset(of: seen))
        }

        @Test
        func `a monitor that comes late sees the run, its steps, layers and bus, and ends by itself when the run is gone`()
            throws
        {
            let model = try ModelFolder()
            let run = try start(model, [])
            let address = try endpoint(of: run)
            let watch = try Program.start(["watch", address, "--timeout", "20"], in: model.path)
            try expectEvents(["run", "step", "phase", "bus", "layer/model.layers.0.mlp.up_proj"], watch)
            let about = try #require(try events(watch).first { $0["event"]?.string == "run" }?["value"])
            #expect(about["job"]?.string == "qat" && about["world_size"]?.integer == 2)
            // Killed without a chance to say so.
            run.send(SIGKILL)
            let outcome = try watch.wait()
            #expect(outcome.code == 75 && outcome.errorLines.count == 1, "\(outcome.errors)")
            _ = try run.wait()
        }

        @Test func `the last event of a run is its end`() throws {
            let model = try ModelFolder()
            let address = "tcp://127.0.0.1:\(2 * Int.random(in: 10_000..<15_000))"
            let run = try Program.start(
                ["train"] + model.arguments() + ["--set", "training.steps=1000000", "--set", "events.endpoint=\(address)"],
                in: model.path)
            #expect(try endpoint(of: run) == address)
            // Its folder says where, while it lasts.
            let watch = try Program.start(["watch", "out"], in: model.path)
            try expectEvents(["step"], watch)
            run.send(SIGTERM)
            let outcome = try watch.wait()
            #expect(outcome.code == 0, "\(outcome.errors)")
            let last = try #require(try events(watch).last)
            #expect(last["event"]?.string == "end" && last["value"]?["exit_code"]?.integer == 143)
            #expect(try run.wait().code == 143)
            try Program.expectRefusal(
                ["watch", "out"], in: model.path, ranks: 0, code: 66, fragment: "no run is under way here")
        }

        @Test func `where nothing answers, a monitor says so`() throws {
            let folder = try TemporaryFolder()
            try Program.expectRefusal(
                ["watch", "tcp://127.0.0.1:9", "--timeout", "1"], in: folder.path, ranks: 0, code: 75,
                fragment: "nothing answered")
        }

        @Test(arguments: [
            "", "foo", "127.0.0.1:9", "tcp://host", "tcp://127.0.0.1", "tcp://*:5", "tcp://127.0.0.1:x", "http://127.0.0.1:80",
            "tcp://1.2.3.4:99999", "tcp://999.1.1.1:80", "tcp://1.2.3:80", "tcp://0.0.0.0:80", "tcp://:80", "tcp://a b:80",
            "tcp://-:80",
            "tcp:///:80", "tcp://127.0.0.1:+80", "tcp://127.0.0.1:080", "tcp://127.0.0.1:80/",
        ])
        func `what is no endpoint is refused, with what one looks like`(_ endpoint: String) throws {
            let folder = try TemporaryFolder()
            try Program.expectRefusal(["watch", endpoint], in: folder.path, ranks: 0, code: 64, fragment: "endpoint")
            try Program.expectRefusal(
                ["watch", endpoint], in: folder.path, ranks: 0, code: 64, fragment: "tcp://127.0.0.1:40123")
        }

        @Test func `addresses that others reach need a key file that nobody else reads`() throws {
            let model = try ModelFolder()
            func expectRefusal(_ settings: [String], code: Int32, _ fragment: String) throws {
                try Program.expectRefusal(
                    ["train"] + model.arguments() + settings.flatMap { ["--set", $0] }, in: model.path, ranks: 2, code: code,
                    fragment: fragment)
            }
            try expectRefusal(["events.endpoint=tcp://eth0:4711"], code: 78, "events.keys")
            try expectRefusal(["events.endpoint=tcp://*:4711"], code: 78, "events.endpoint")
            try expectRefusal(["events.keys=absent"], code: 66, "absent")
            try model.write("public x\n", to: "open")
            chmod(model.file("open"), 0o644)
            try expectRefusal(["events.keys=open"], code: 78, "other users may read")
            chmod(model.file("open"), 0o600)
            try expectRefusal(["events.keys=open"], code: 78, "line 1")
        }

        @Test func `a run with keys shows itself to a listed monitor, and refuses others`() throws {
            let model = try ModelFolder()
            func newKey(_ name: String) throws -> String {
                let outcome = try Program.run(["watch", "--new-key", name], in: model.path)
                #expect(outcome.code == 0, "\(outcome.errors)")
                return outcome.output.trimmingCharacters(in: .whitespacesAndNewlines)
            }
            let (ofRun, ofMonitor, _) = (try newKey("run.key"), try newKey("monitor.key"), try newKey("unlisted.key"))
            func add(_ peer: String, to name: String) throws {
                let text = String(decoding: try model.read(name), as: UTF8.self) + "peer \(peer)\n"
                let file = try #require(FileHandle(forWritingAtPath: model.file(name)))
                try file.write(contentsOf: Data(text.utf8))
            }
            try add(ofMonitor, to: "run.key")
            try add(ofRun, to: "monitor.key")
            try add(ofRun, to: "unlisted.key")
            let run = try start(model, ["events.keys=run.key"])
            let address = try endpoint(of: run)
            let watch = try Program.start(["watch", address, "--keys", "monitor.key", "--timeout", "20"], in: model.path)
            try expectEvents(["run", "step"], watch)
            let unlisted = try Program.run(["watch", address, "--keys", "unlisted.key", "--timeout", "60"], in: model.path)
            #expect(unlisted.code == 77 && unlisted.output.isEmpty, "\(unlisted.errors)")
            let keyless = try Program.run(["watch", address, "--timeout", "60"], in: model.path)
            #expect(keyless.code == 77 && keyless.output.isEmpty, "\(keyless.errors)")
            run.send(SIGKILL)
            _ = try (run.wait(), watch.wait())
        }
    }
}
