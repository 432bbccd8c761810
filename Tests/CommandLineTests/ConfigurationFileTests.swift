import Support
import TestSupport
import Testing

extension CommandLineTests {
    /// Malformed configurations through the program: exit code 78, one line that names file and line or key.
    @Suite struct ConfigurationFiles {
        struct Case: CustomTestStringConvertible, Sendable {
            let testDescription: String
            let text: String
            let fragment: String

            init(_ name: String, _ text: String, _ fragment: String) {
                testDescription = name
                self.text = text
                self.fragment = fragment
            }
        }

        static let cases = [
            Case(
                "unknown key", "training:\n  stpes: 3\n",
                "bad.yaml:2: unknown key 'training.stpes'; the nearest known one is 'training.steps'"),
            Case("unknown section", "trainning: {steps: 3}\n", "'training.steps'"),
            Case("duplicate key", "training:\n  steps: 3\n  steps: 4\n", "given twice"),
            Case("duplicate in two forms", "training:\n  steps: 3\ntraining.steps: 4\n", "given twice"),
            Case("anchor", "training: {steps: &a 3}\n", "anchors"),
            Case("alias", "training: {steps: &a 3, seed: *a}\n", "anchors"),
            Case("alias bomb", aliasBomb, "alias"),
            Case("tag", "training: {steps: !!int 3}\n", "tags"),
            Case("object tag", "training: !!python/object/apply:os.system [ls]\n", "tags"),
            Case(
                "deep nesting", String(repeating: "{a: ", count: 100) + "1" + String(repeating: "}", count: 100),
                "deeper than 16"),
            Case("deepest nesting", String(repeating: "[", count: 1_000_000), "not valid YAML"),
            Case("too large", "# " + String(repeating: "x", count: 1 << 20) + "\n", "at most 1048576"),
            Case("two documents", "training: {steps: 3}\n---\ntraining: {steps: 4}\n", "single document"),
            Case("list at the root", "- training\n", "mapping"),
            Case("text at the root", "training\n", "mapping"),
            Case("list as value", "training: {steps: [3]}\n", "not a list"),
            Case("unclosed mapping", "training: {steps: 3\n", "not valid YAML"),
            Case("unclosed quotes", "training: \"steps\n", "not valid YAML"),
            Case("tab as indentation", "training:\n\tsteps: 3\n", "not valid YAML"),
            Case("control character", "training: {steps: \u{7}}\n", "not valid YAML"),
            Case("NaN", "training: {learning_rate: .nan}\n", "a number greater than 0"),
            Case("infinity", "training: {learning_rate: .inf}\n", "a number greater than 0"),
            Case("overflow", "training: {learning_rate: 1e400}\n", "a number greater than 0"),
            Case("fraction", "training: {steps: 2.5}\n", "an integer"),
            Case("huge integer", "training: {steps: 123456789012345678901234567890}\n", "an integer"),
            Case("negative", "training: {steps: -3}\n", "an integer from 1"),
            Case("empty value", "training: {steps: }\n", "an integer"),
            Case("unknown choice", "rotation: {r1: random}\n", "one of learned, hadamard, none"),
            Case("no such number of bits", "quantization: {kv: {bits: 0}}\n", "one of 2, 3"),
            Case("warm-up too long", "training: {steps: 3, warmup_steps: 4}\n", "more than the 3"),
            Case("world size", "parallel: {data: 3, pipeline: 5}\n", "data 3 × pipeline 5"),
            Case("forged line", "\"a\\nsq-train: error: forged\": 1\n", #"unknown key 'a\u{a}sq-train"#),
        ]

        /// Nine levels of nine copies.
        static var aliasBomb: String {
            (1...9).reduce("a0: &a0 [x, x, x, x, x, x, x, x, x]\n") { text, level in
                text + "a\(level): &a\(level) [" + Array(repeating: "*a\(level - 1)", count: 9).joined(separator: ", ") + "]\n"
            }
        }

        @Test(arguments: cases) func `is refused by one rank`(_ input: Case) throws { try refuse(input, ranks: 0) }

        @Test(arguments: cases) func `is refused by two ranks`(_ input: Case) throws { try refuse(input, ranks: 2) }

        private func refuse(_ input: Case, ranks: Int) throws {
            let folder = try TemporaryFolder()
            try AtomicFile.write(input.text, to: folder.file("bad.yaml"))
            try Program.expectRefusal(
                ["--config", "bad.yaml"], in: folder.path, ranks: ranks, code: 78, fragment: input.fragment)
        }

        @Test(arguments: [0, 2]) func `not UTF-8, not there, not a file`(_ ranks: Int) throws {
            let folder = try TemporaryFolder()
            try AtomicFile.write([0x61, 0x3A, 0x20, 0xFF], to: folder.file("bad.yaml"))
            try Program.expectRefusal(["--config", "bad.yaml"], in: folder.path, ranks: ranks, code: 78, fragment: "not UTF-8")
            try Program.expectRefusal(
                ["--config", "none.yaml"], in: folder.path, ranks: ranks, code: 66, fragment: "none.yaml: there is no such file"
            )
            for path in ["/dev/zero", folder.path] {
                try Program.expectRefusal(
                    ["--config", path], in: folder.path, ranks: ranks, code: 78, fragment: "\(path): is not a regular file")
            }
        }

        /// The settings go to a file, what is to be said of them to the user.
        @Test func `plan prints its settings too, and a key's old name is said on standard error`() throws {
            let folder = try TemporaryFolder()
            let printed = try Program.run(
                ["plan", "--print-config"]
                    + ["quantize.rotation=hadamard", "plan.nodes=3", "plan.job=quantize"].flatMap { ["--set", $0] },
                in: folder.path)
            #expect(printed.code == 0 && printed.output.hasPrefix("model:\n"))
            #expect(printed.output.contains("  nodes: 3\n") && printed.output.contains("  transform: hadamard\n"))
            #expect(
                printed.errors
                    == "sq-train: warning: --set quantize.rotation=hadamard: quantize.rotation is now called quantize.transform"
                    + "; use that name\n")
        }
    }
}
