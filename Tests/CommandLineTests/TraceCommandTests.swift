import Foundation
import Support
import Testing

extension CommandLineTests {
    /// The file of `--trace`, as a timeline's reader sees it.
    @Suite struct Traces {
        private struct Event {
            let name: String
            let category: String
            let rank: Int
            let begin: Double
            let end: Double

            init?(_ json: JSONValue) {
                guard json["ph"]?.string == "X", let name = json["name"]?.string, let category = json["cat"]?.string,
                    let rank = json["tid"]?.integer, let begin = json["ts"]?.number, let duration = json["dur"]?.number
                else { return nil }
                (self.name, self.category, self.rank) = (name, category, rank)
                (self.begin, end) = (begin, begin + duration)
            }
        }

        /// Jobs on the embedded model, so that a step is long enough to be measured.
        private func trace(_ job: String, _ settings: [String], ranks: Int) throws -> (events: [Event], folder: ModelFolder) {
            let model = try ModelFolder()
            let given =
                [
                    "data.train.path=data.safetensors", "data.eval.path=data.safetensors", "data.sequence_length=16",
                    "data.eval.windows=2", "training.steps=5", "training.batch_size=4",
                ] + settings
            let outcome = try Program.run(
                [job, "--trace", "a.json", "--out", "out"] + given.flatMap { ["--set", $0] }, in: model.path, ranks: ranks)
            #expect(outcome.code == 0, "\(outcome.errors)")
            #expect(outcome.output.contains("a.json: a timeline of \(max(1, ranks)) rank"), "\(outcome.output)")
            let json = try InputFile.json(model.file("a.json"))
            return (try #require(json["traceEvents"]?.array).compactMap(Event.init), model)
        }

        /// The share of a span that the spans directly inside it account for.
        private func accountedFor(_ span: Event, _ events: [Event]) -> Double {
            let inside = events.filter {
                $0.rank == span.rank && $0.category != "step" && $0.begin >= span.begin && $0.end <= span.end + 0.002
            }.sorted { ($0.begin, $1.end) < ($1.begin, $0.end) }
            var (sum, end) = (0.0, span.begin)
            for event in inside where event.begin >= end - 0.002 {
                sum += event.end - event.begin
                end = event.end
            }
            return sum / (span.end - span.begin)
        }

        @Test(arguments: [
            ("rotate", ["parallel.pipeline=2"], ["teacher", "loss and head", "backward", "Cayley step", "wait", "send"]),
            ("rotate", ["rotation.train_weight_bits=4"], ["quantize weights", "rotation gradients of weights", "all-reduce"]),
            ("train", ["parallel.pipeline=2"], ["optimizer", "backward", "wait"]),
            ("qat", ["ternary.tolerance=0.5", "ternary.layers=*.0.*k_proj"], ["transition", "exchange", "optimizer"]),
        ]) func `at least 98 percent of every rank's steps is accounted for`(
            _ job: String, _ settings: [String], _ expected: [String]
        ) throws {
            let (events, _) = try trace(job, settings, ranks: 2)
            for rank in 0..<2 {
                let steps = events.filter { $0.rank == rank && $0.category == "step" }
                #expect(steps.map(\.name) == (0..<5).map { "step \($0)" })
                // What is left out is left out of every step; a rank that loses its core in between, of some.
                let accounted = steps.map { accountedFor($0, events) }
                #expect(accounted.max() ?? 0 >= 0.98, "\(job), rank \(rank): \(accounted)")
            }
            let names = Set(events.map { String($0.name.prefix { !$0.isNumber }).trimmingCharacters(in: .whitespaces) })
            #expect(names.isSuperset(of: expected + ["forward", "data", "metrics", "checkpoint", "evaluate", "read model"]))
        }

        @Test func `jobs without steps have a trace too`() throws {
            let (events, _) = try trace("quantize", ["quantization.weights.bits=4"], ranks: 0)
            let names = Set(events.map(\.name))
            #expect(names.isSuperset(of: ["evaluate", "quantize weights", "write model", "read model"]))
            let (ptq, _) = try trace("ptq", ["ternary.tolerance=0.5", "ternary.layers=*.0.*k_proj"], ranks: 0)
            #expect(Set(ptq.map(\.name)).isSuperset(of: ["evaluate", "decompose 0", "write model"]))
        }

        @Test func `a run that is stopped leaves its trace`() throws {
            let model = try ModelFolder()
            let run = try Program.start(
                ["train"] + model.arguments() + ["--set", "training.steps=1000000", "--trace", "out/a.json"], in: model.path,
                ranks: 2)
            for _ in 0..<12_000 where run.isRunning {
                if (try? model.read("out/metrics.jsonl"))?.count(where: { $0 == 10 }) ?? 0 > 2 { break }
                usleep(10_000)
            }
            run.send(SIGUSR1)
            let outcome = try run.wait()
            #expect(outcome.code == 0 && outcome.output.contains("stopped on request"), "\(outcome)")
            let json = try InputFile.json(model.file("out/a.json"), limit: 1 << 30)
            let events = try #require(json["traceEvents"]?.array).compactMap(Event.init)
            #expect(events.contains { $0.rank == 1 && $0.name == "step 1" })
        }

        @Test(arguments: [
            ("none/a.json", 66, "there is no such folder"), ("model", 74, "is not a file"), ("", 64, "--trace takes"),
        ]) func `a trace that could not be written is refused before anything is`(
            _ path: String, _ code: Int32, _ fragment: String
        ) throws {
            let model = try ModelFolder()
            try Program.expectRefusal(
                ["train"] + model.arguments() + ["--trace", path], in: model.path, ranks: 0, code: code, fragment: fragment)
        }
    }
}
