import Support
import TestSupport
import Testing

@testable import Configuration

@Suite struct ConfigurationDocumentTests {
    private func settings(_ text: String) throws -> [String: String] {
        try ConfigurationDocument(text, name: "f").settings.mapValues(\.text)
    }

    private func problem(_ text: String) -> String {
        do {
            return "accepted: \(try settings(text))"
        } catch {
            return "\(error)"
        }
    }

    @Test func `damaged files are settings or refused`() throws {
        let text = """
            # A run.
            model: {path: "a b", storage: bf16}
            data:
              sequence_length: 128
              train: {path: 'text''s.txt'}
              eval:
                windows: 4
            quantization:
              weights: {bits: 4, granularity: group, group_size: 64}
              overrides: "*.down_proj=8,model.layers.0.*=16"
            rotation: {r3: none, learning_rate: 1.5e-2}
            training:
              steps: 10
              seed: 3 # the third
            """
        let folder = try TemporaryFolder()
        let mutations = Mutations(seed: 87)
        let refused = try mutations.refusals(of: Array(text.utf8), at: folder.file("mutant")) { path in
            _ = try RunConfig(ConfigurationDocument(file: path).settings)
        }
        #expect(refused > mutations.count / 4)
    }

    @Test func `nested mappings become dotted keys with their lines`() throws {
        let document = try ConfigurationDocument("a:\n  b: 1\n  c: {d: 'x y'}\ne: \"2\"\n", name: "f")
        #expect(
            document.settings == [
                "a.b": .init(text: "1", place: "f:2"), "a.c.d": .init(text: "x y", place: "f:3"),
                "e": .init(text: "2", place: "f:4"),
            ])
    }

    @Test(arguments: ["", "\n\n", "# only a comment\n", "---\n", "{}"])
    func `a document without keys is an empty configuration`(_ text: String) throws {
        #expect(try settings(text).isEmpty)
    }

    @Test func `a thousand million copies through aliases are refused in no time, also as keys`() {
        var text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
        for level in 1...9 {
            text += "a\(level): &a\(level) [" + Array(repeating: "*a\(level - 1)", count: 9).joined(separator: ",") + "]\n"
        }
        let clock = ContinuousClock()
        let time = clock.measure { #expect(problem(text).contains("alias")) }
        let keys = clock.measure { #expect(problem(text + "? *a9\n: 1\n? *a9\n: 2\n").contains("alias")) }
        let tens = (0..<10).map { level in
            let below = level == 0 ? "x" : "*k\(level - 1)"
            return "?&k\(level) [" + Array(repeating: below, count: 10).joined(separator: ",") + "]: 1"
        }
        #expect(problem("model: {" + tens.joined(separator: ", ") + "}\n").contains("alias"))
        // Expanded they would take minutes; parsing takes a millisecond.
        #expect(time < .seconds(30) && keys < .seconds(30))
    }

    @Test func `asterisks of many patterns are none of aliases`() throws {
        let patterns = (0..<10).map { "*.\($0)_proj=4" }.joined(separator: ",")
        let config = try RunConfig(assignments: ["quantization.overrides=\(patterns)"])
        #expect(try RunConfig(ConfigurationDocument(config.yaml, name: "f").settings) == config)
        let beside = try RunConfig(assignments: [
            "quantization.overrides=\(patterns.replacing(",", with: ", "))", "model.path=R & D/m",
        ])
        #expect(try RunConfig(ConfigurationDocument(beside.yaml, name: "f").settings) == beside)
    }

    @Test(arguments: [
        ("a: &x 1\nb: *x\n", "anchors"), ("a: &x 1\n", "anchors"), ("&x a: 1\n", "plain word"), ("a: &x {b: 1}\n", "anchors"),
        ("a: *x\n", "undefined alias"), ("a: {b: &x 1, c: *x}\n", "anchors"), ("? &k a\n: 1\n? *k\n: 2\n", "twice"),
        ("a: !!str 1\n", "tags"), ("a: !!map {b: 1}\n", "tags"), ("a: !x 1\n", "tags"), ("!x a: 1\n", "plain word"),
        ("--- !x\na: 1\n", "tags"), ("a: ! 1\n", "tags"), ("<<: {a: 1}\n<<: {b: 1}\n", "twice"),
        ("a: 1\na: 2\n", "twice"), ("a: {b: 1}\na.b: 2\n", "twice"), ("a: 1\n---\nb: 2\n", "single document"),
        ("- 1\n", "mapping"), ("x\n", "mapping"), ("a: [1, 2]\n", "not a list"), ("? [a]\n: 1\n", "plain word"),
        ("? {a: 1}\n: 1\n", "plain word"), ("a: {b: 1\n", "not valid YAML"), ("a: \"x\n", "not valid YAML"),
        ("a:\tb\n\t- c", "not valid YAML"),
        ("a: b: c\n", "not valid YAML"), ("a: \u{1}\n", "not valid YAML"), ("%YAML 9.9\n---\na: 1\n", "not valid YAML"),
    ])
    func `what is no plain mapping is refused`(_ text: String, _ fragment: String) {
        let problem = problem(text)
        #expect(problem.contains(fragment), "\(problem)")
        #expect(problem.hasPrefix("f"))
    }

    @Test func `sixteen levels are accepted and more are refused, up to the file's size`() throws {
        func nested(_ depth: Int) -> String {
            String(repeating: "{a: ", count: depth) + "1" + String(repeating: "}", count: depth)
        }
        #expect(try settings(nested(15)).count == 1)
        #expect(problem(nested(16)).contains("deeper than 16"))
        #expect(problem(nested(500)).contains("deeper than 16"))
        #expect(problem(String(repeating: "[", count: 1_000_000)).contains("not valid YAML"))
        #expect(problem(String(repeating: "- ", count: 500_000)).contains("not valid YAML"))
    }

    @Test func `a hostile key forges no second line`() {
        let problem = problem("\"a\\nsq-train: error: b\": 1\n\"a\\nsq-train: error: b\": 2\n")
        #expect(problem.contains("twice") && !problem.contains("\n"))
    }
}
