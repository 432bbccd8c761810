import Support
import TestSupport
import Testing

/// All tests that start the program, one after the other: it uses all cores itself.
@Suite(.serialized) struct CommandLineTests {}

extension CommandLineTests {
    @Suite struct Usage {
        @Test(arguments: [
            (["--nope"], "--nope"), (["fly"], "fly"), (["--set"], "--set"),
            (["--set", "training.steps"], "expected key.path=value"),
            (["--set", "=1"], "expected key.path=value"), (["--config"], "--config"), (["rotate", "--out"], "--out"),
            (["launch"], "--ranks"), (["launch", "-n", "0"], "1 to 65536"), (["launch", "-n", "x"], "x"),
            (["launch", "-n", "2", "launch"], "launch itself"), (["launch", "-n", "2", "--", "launch"], "launch itself"),
            (["plan", "--out", "a"], "plan writes no run folder; leave --out out"),
            (["plan", "--set", "out=a"], "leave --set out=a out"),
            (["profile", "embedded", "--overwrite"], "leave --overwrite out"),
            (["verify", "a", "b", "--out", "c"], "verify writes no run folder"),
            (["generate", "--prompt", "a", "--out", "b"], "generate without --bench writes no run folder"),
            (["launch", "-n", "2", "--max-restarts", "-1"], "--max-restarts"),
        ])
        func `a wrong command line is one line and exit code 64`(_ arguments: [String], _ fragment: String) throws {
            let folder = try TemporaryFolder()
            try Program.expectRefusal(arguments, in: folder.path, ranks: 0, code: 64, fragment: fragment)
        }

        @Test(arguments: [1, 2]) func `a wrong command line ends all ranks`(_ ranks: Int) throws {
            let folder = try TemporaryFolder()
            try Program.expectRefusal(["--nope"], in: folder.path, ranks: ranks, code: 64, fragment: "--nope")
            try Program.expectRefusal(
                ["launch", "-n", "2"], in: folder.path, ranks: ranks, code: 64, fragment: "mpirun itself")
        }

        @Test(arguments: ["eval", "plan", "profile", "generate --prompt a", "eval --set model.path=embedded"])
        func `a program that was copied without its model says what to copy`(_ command: String) throws {
            let folder = try TemporaryFolder()
            let outcome = try Program.shell(#"cp "$0" alone && ./alone "# + command, in: folder.path)
            #expect(outcome.code == 66, "\(outcome)")
            #expect(outcome.errorLines.count == 1 && outcome.errors.split(separator: "\n").count == 1, "\(outcome.errors)")
            for part in ["/sq-train_EmbeddedModel.resources: is not there", "copy this folder beside the program"] {
                #expect(outcome.errors.contains(part), "\(outcome.errors)")
            }
        }

        @Test func `a word near a command asks whether it is meant, and any other says which there are`() throws {
            let folder = try TemporaryFolder()
            for (word, fragment) in [
                ("rotat", "no command 'rotat'; did you mean rotate?"), ("evla", "did you mean eval?"),
                ("nonsense", "the commands are rotate, train"),
                ("version", "did you mean --version?"),
            ] {
                try Program.expectRefusal([word], in: folder.path, ranks: 0, code: 64, fragment: fragment)
            }
            try Program.expectRefusal(
                ["rotate", "meta-llama/Llama-3.2-1B"], in: folder.path, ranks: 0, code: 66,
                fragment: "hf download meta-llama/Llama-3.2-1B")
        }

        @Test(arguments: [
            (#"generate --prompt $'a\xff'"#, "--prompt 'a\u{FFFD}': is not UTF-8"), (#"eval $'\xc3'"#, "argument 2 '"),
            (#"launch -n 1 generate --prompt $'\x80'"#, "--prompt '"),
        ])
        func `a word that is no text is refused, and nothing else is taken for it`(_ words: String, _ fragment: String) throws {
            let folder = try TemporaryFolder()
            let outcome = try Program.shell(#""$0" "# + words, in: folder.path)
            #expect(outcome.code == 64 && outcome.errors.contains(fragment), "\(outcome.errors)")
            #expect(outcome.errors.split(separator: "\n").count == 1, "\(outcome.errors)")
            #expect(try entries(ofFolder: folder.path).isEmpty)
        }

        @Test func `the version is printed`() throws {
            let folder = try TemporaryFolder()
            let outcome = try Program.run(["--version"], in: folder.path)
            #expect(
                outcome.code == 0 && outcome.output.hasPrefix(ProgramVersion.name)
                    && outcome.output.split(separator: "\n").count == 1)
        }

        @Test func `a model folder is an argument of every job, and stands for model.path`() throws {
            let model = try ModelFolder()
            for words in [
                ["model"], ["rotate", "model"], ["train", "model"], ["qat", "model"], ["ptq", "model"], ["eval", "model"],
            ] {
                let outcome = try Program.run(words + ["--print-config"], in: model.path)
                #expect(outcome.code == 0 && outcome.output.contains("  path: model\n"), "\(words): \(outcome.errors)")
            }
            for command in ["eval", "profile", "plan"] {
                try Program.expectRefusal(
                    [command, "model", "--set", "model.path=other"], in: model.path, ranks: 0, code: 78,
                    fragment: "the model is given twice")
            }
        }

        @Test(arguments: [0, 2]) func `help is printed once`(_ ranks: Int) throws {
            let folder = try TemporaryFolder()
            let outcome = try Program.run(["--help"], in: folder.path, ranks: ranks)
            #expect(outcome.code == 0)
            #expect(outcome.output.split(separator: "\n").count { $0.hasPrefix("USAGE: sq-train") } == 1)
        }

        @Test(arguments: [0, 2]) func `the printed configuration can be given back`(_ ranks: Int) throws {
            let folder = try TemporaryFolder()
            let printed = try Program.run(["--set", "training.steps=7", "--print-config"], in: folder.path, ranks: ranks)
            #expect(printed.code == 0)
            #expect(printed.output.contains("  steps: 7\n"))
            try AtomicFile.write(printed.output, to: folder.file("a.yaml"))
            let again = try Program.run(["rotate", "--config", "a.yaml", "--print-config"], in: folder.path)
            #expect(again.output == printed.output)
        }
    }
}
