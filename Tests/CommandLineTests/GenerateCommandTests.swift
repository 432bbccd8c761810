import Foundation
import Support
import TestSupport
import Testing

/// `sq-train generate`, as a user calls it.
@Suite struct GenerateCommandTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    @Test func `text follows a prompt, and a seed draws it again`() throws {
        func text(_ more: [String]) throws -> String {
            let outcome = try Program.run(
                ["generate", "--prompt", "The history of the", "--set", "generate.max_tokens=12"] + more, in: folder.path)
            #expect(outcome.code == 0 && outcome.errors.isEmpty, "\(outcome.errors)")
            return outcome.output
        }
        let greedy = try text([])
        #expect(greedy.count > 12 && greedy.hasSuffix("\n"))
        #expect(try text(["--set", "training.seed=4"]) == greedy)
        let drawing = ["--set", "generate.temperature=1.5", "--set", "training.seed=4"]
        let drawn = try text(drawing)
        #expect(try drawn == text(drawing) && drawn != greedy)
        #expect(try entries(ofFolder: folder.path).isEmpty)
        // 512 positions.
        let prompt = String(repeating: " the", count: 506)
        let end = try Program.run(
            ["generate", "--prompt", prompt, "--set", "generate.max_tokens=60"], in: folder.path)
        #expect(end.code == 0 && end.errors.contains("no position left"), "\(end.errors)")
    }

    @Test func `the newline that ends standard input is none of the prompt`() throws {
        func text(_ given: String) throws -> String {
            let outcome = try Program.shell("\(given) --set generate.max_tokens=8", in: folder.path)
            #expect(outcome.code == 0, "\(outcome.errors)")
            return outcome.output
        }
        let program = #""$0" generate"#
        let (plain, longer) = (try text("\(program) --prompt 'The river'"), try text("\(program) --prompt $'The river\n'"))
        #expect(plain != longer)
        for input in ["The river", #"The river\n"#, #"The river\r\n"#] {
            #expect(try text("printf '\(input)' | \(program)") == plain, "\(input)")
        }
        #expect(try text(#"printf 'The river\n\n' | "# + program) == longer)
    }

    @Test func `a text that nobody reads to its end is no run that had written nothing`() throws {
        let outcome = try Program.shell(
            #""$0" generate --prompt 'The river' --set generate.max_tokens=400 | head -c 3"#, in: folder.path)
        #expect(outcome.errors == "stopped: the output is no longer read\n")
    }

    /// The same text as of a prompt that is what the template makes; the model's own template is none that it has learned.
    @Test(arguments: [0, 2]) func `a conversation goes on from what the folder's template makes of it`(_ ranks: Int) throws {
        let embedded = (Program.path as NSString).deletingLastPathComponent + "/sq-train_EmbeddedModel.resources/wiki-llama-4m"
        try FileManager.default.copyItem(atPath: embedded, toPath: folder.file("model"))
        var settings = try InputFile.json(folder.file("model/tokenizer_config.json")).object ?? JSONObject()
        settings["chat_template"] = .string(
            "{{ bos_token }}{% for m in messages %}{{ m.role | upper }}: {{ m.content }}\n{% endfor %}ANSWER:")
        try AtomicFile.write(JSONValue.object(settings).text(), to: folder.file("model/tokenizer_config.json"))
        // This tokenizer begins each text, and a text that begins already must not get a second beginning.
        var tokenizer = try InputFile.json(folder.file("model/tokenizer.json"), limit: 64 << 20).object ?? JSONObject()
        let (begin, text): (JSONValue, JSONValue) = (
            ["SpecialToken": ["id": "<|begin_of_text|>", "type_id": 0]], ["Sequence": ["id": "A", "type_id": 0]]
        )
        tokenizer["post_processor"] = [
            "type": "TemplateProcessing", "single": [begin, text],
            "pair": [begin, text, ["Sequence": ["id": "B", "type_id": 1]]],
            "special_tokens": [
                "<|begin_of_text|>": ["id": "<|begin_of_text|>", "ids": [0], "tokens": ["<|begin_of_text|>"]]
            ],
        ]
        try AtomicFile.write(
            JSONValue.object(tokenizer).text(.compact, sortedKeys: false), to: folder.file("model/tokenizer.json"))
        // Drawn, so that a further token in front of all would change the text.
        let tokens = ["--set", "generate.max_tokens=40", "--set", "generate.temperature=1.5", "--set", "training.seed=4"]
        func generated(_ arguments: [String], ranks: Int = 0) throws -> String {
            let outcome = try Program.run(["generate", "model"] + arguments + tokens, in: folder.path, ranks: ranks)
            #expect(outcome.code == 0, "\(outcome.errors)")
            return outcome.output
        }
        let expected = try generated(["--prompt", "SYSTEM: Be brief.\nUSER: Hello {{ you }}\nANSWER:"])
        #expect(try generated(["--chat", "--system", "Be brief.", "--prompt", "Hello {{ you }}"], ranks: ranks) == expected)
    }

    @Test func `a measurement leaves its numbers in summary json`() throws {
        let outcome = try Program.run(
            [
                "generate", "--bench", "--out", "run", "--set", "generate.max_tokens=20", "--set",
                "generate.bench.prompt_tokens=30",
                "--set", "generate.bench.repetitions=2", "--set", "generate.kv_bits=4",
            ], in: folder.path)
        #expect(outcome.code == 0, "\(outcome.errors)")
        let summary = try InputFile.json(folder.file("run/summary.json"))
        #expect(summary["job"]?.string == "generate" && summary["key_bits"]?.integer == 4)
        for key in ["prefill_tokens_per_second", "decode_tokens_per_second", "memory_bytes_per_second", "bandwidth_share"] {
            #expect((summary["generate"]?[key]?.number ?? 0) > 0, "\(key)")
        }
        // Of the embedded model: all of its bfloat16 matrices but the embedding.
        #expect((7_300_000...7_700_000).contains(summary["generate"]?["bytes_per_token"]?.integer ?? 0))
    }

    @Test(arguments: [
        (["--chat", "--prompt", "a"], 0, 65 as Int32, "has no chat template"),
        (["--system", "a", "--prompt", "a"], 0, 64, "add --chat"), (["--bench", "--chat"], 0, 64, "leave --chat out"),
        (["--bench", "--prompt", "a"], 0, 64, "leave --prompt out"),
        (["--prompt", "a", "--set", "quantization.weights.bits=4"], 0, 64, "sq-train quantize"),
        (["--prompt", "a", "--set", "eval.product=integer"], 0, 78, "holds floats"),
        (["--prompt", "a", "--set", "generate.kv_bits=5"], 0, 78, "generate.kv_bits"),
        (["--prompt", String(repeating: "word ", count: 600)], 0, 65, "512"),
        (["--bench", "--out", "run", "--set", "generate.bench.prompt_tokens=500"], 0, 78, "512 positions"),
        (["--prompt", "a", "--set", "parallel.data=2"], 2, 78, "replicas would all do the same work"),
    ]) func `what cannot be done is said in a line`(_ arguments: [String], ranks: Int, code: Int32, fragment: String) throws {
        try Program.expectRefusal(["generate"] + arguments, in: folder.path, ranks: ranks, code: code, fragment: fragment)
    }
}
