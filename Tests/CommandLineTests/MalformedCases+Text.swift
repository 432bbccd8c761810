import Foundation
import Support

private let tokenizerFile = "model/tokenizer.json"

extension MalformedCase {
    /// A damaged tokenizer, which text needs.
    private static func tokenizer(
        _ name: String, _ fragment: String, code: Int32 = 65, _ damage: @escaping @Sendable (ModelFolder) throws -> Void
    ) -> MalformedCase {
        MalformedCase(name, fragment, code: code, train: "a.txt") { model in
            try model.write(String(repeating: "some text to learn from. ", count: 100), to: "a.txt")
            try damage(model)
        }
    }

    private static func changingModel(
        _ name: String, _ fragment: String, _ change: @escaping @Sendable (inout JSONObject) -> Void
    ) -> MalformedCase {
        tokenizer(name, fragment) { folder in
            try folder.changeJSON(tokenizerFile) { root in
                guard var model = root["model"]?.object else { return }
                change(&model)
                root["model"] = .object(model)
            }
        }
    }

    private static func changingVocabulary(
        _ name: String, _ fragment: String, _ change: @escaping @Sendable (inout JSONObject) -> Void
    ) -> MalformedCase {
        changingModel(name, fragment) { model in
            guard var vocabulary = model["vocab"]?.object else { return }
            change(&vocabulary)
            model["vocab"] = .object(vocabulary)
        }
    }

    static let tokenizer = [
        tokenizer("no tokenizer", "tokenizer.json: there is no such file", code: 66) { model in
            try FileManager.default.removeItem(atPath: model.file(tokenizerFile))
        },
        tokenizer("tokenizer that is no JSON", "byte") { try $0.write("{", to: tokenizerFile) },
        tokenizer("tokenizer that is a list", "is not an object") { try $0.write("[]", to: tokenizerFile) },
        tokenizer("tokenizer above 64 MiB", "at most") { model in
            _ = FileManager.default.createFile(atPath: model.file(tokenizerFile), contents: nil)
            truncate(model.file(tokenizerFile), (64 << 20) + 1)
        },
        tokenizer("tokenizer without a model", "model: is missing") { try $0.changeJSON(tokenizerFile) { $0["model"] = nil } },
        changingModel("model of another kind", "WordPiece") { $0["type"] = "WordPiece" },
        changingModel("merge of absent tokens", "is not in the vocabulary") { $0["merges"] = [["absent1", "absent2"]] },
        changingModel("merge of one token", "merges[0]") { $0["merges"] = [["a"]] },
        changingVocabulary("token id twice", "is given to both") { $0["zzz"] = $0.members[3].value },
        changingVocabulary("negative token id", "the id -1 is outside") { $0["zzz"] = -1 },
        changingVocabulary("huge token id", "the id 1000000000000 is outside") { $0["zzz"] = 1_000_000_000_000 },
        changingVocabulary("token id as text", "is not an integer") { $0["zzz"] = "1" },
        tokenizer("a token twice", "twice") { model in
            try model.changeJSON(tokenizerFile) { _ in }
            try model.replace("\"vocab\":{", by: "\"vocab\":{\"!\":0,", in: tokenizerFile)
        },
        tokenizer("unknown regular expression", "is not supported; supported are those of GPT-2") { model in
            try model.changeJSON(tokenizerFile) {
                $0["pre_tokenizer"] = [
                    "type": "Split", "pattern": ["Regex": "(a+)+$"], "behavior": "Isolated", "invert": false,
                ]
            }
        },
    ]

    private static func text(
        _ name: String, _ fragment: String, file: String, code: Int32 = 65, _ bytes: [UInt8]?
    ) -> MalformedCase {
        MalformedCase(name, fragment, code: code, train: file) { model in
            if let bytes { try model.write(bytes, to: file) }
        }
    }

    static let data = [
        text("no text file", "a.txt: there is no such file", file: "a.txt", code: 66, nil),
        text("no text file, and no ending", "wikitext: there is no such file", file: "wikitext", code: 66, nil),
        text(
            "pointer instead of text", "is a Git LFS pointer", file: "a.TXT",
            Array("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n".utf8)),
        text("empty text", "contains no text", file: "a.txt", []),
        text("text that is not UTF-8", "is not UTF-8", file: "a.txt", [0x61, 0xFF, 0xFE]),
        text("unknown ending", "ending", file: "a.pdf", Array("text".utf8)),
        MalformedCase("too little text", "too little text", arguments: ["--set", "data.sequence_length=64"]) { _ in },
        text("line that is no JSON", "line 2", file: "a.jsonl", Array("{\"text\":\"a\"}\n{\"text\"\n".utf8)),
        text("line without text", "line 1", file: "a.jsonl", Array("{\"txt\":\"a\"}\n".utf8)),
        text("line whose text is a number", "line 1", file: "a.jsonl", Array("{\"text\":3}\n".utf8)),
        MalformedCase("a folder instead of text", "is not a regular file", train: "a.txt") { model in
            try FileManager.default.createDirectory(atPath: model.file("a.txt"), withIntermediateDirectories: false)
        },
        MalformedCase("tokens as floats", "input_ids", train: "b.safetensors") {
            try $0.writeTokens(to: "b.safetensors", type: "F32")
        },
        MalformedCase("token outside the vocabulary", "at position 5", train: "b.safetensors") { model in
            try model.writeTokens(to: "b.safetensors", except: [5: 1_000_000])
        },
        MalformedCase("negative token", "position 6", train: "b.safetensors") {
            try $0.writeTokens(to: "b.safetensors", except: [6: -1])
        },
        MalformedCase("no input_ids", "input_ids", train: "b.safetensors") { model in
            try model.writeTokens(to: "b.safetensors", named: "other_ids")
        },
        MalformedCase(
            "sequence longer than the model's", "more than the model's maximum", code: 78,
            arguments: ["--set", "data.sequence_length=1000000"]
        ) { _ in },
        MalformedCase(
            "groups that do not divide a layer's inputs", "group_size", code: 78,
            arguments: [
                "quantization.weights.bits=4", "quantization.weights.granularity=group", "quantization.weights.group_size=7",
            ]
            .flatMap { ["--set", $0] }
        ) { _ in },
        MalformedCase("stages that do not fit the ranks", "parallel", code: 78, arguments: ["--set", "parallel.data=7"]) { _ in
        },
        MalformedCase("run folder below a file", "data.safetensors", code: 74, arguments: ["--out", "data.safetensors/out"]) {
            _ in
        },
    ]
}
