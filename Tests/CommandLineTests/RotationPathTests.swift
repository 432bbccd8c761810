import HuggingFace
import Support
import Testing

extension CommandLineTests {
    /// Rotations of one run given to another.
    @Suite struct RotationPath {
        /// Scores rotations, and what is asked of the run that learned them.
        private func evaluate(
            _ model: ModelFolder, _ more: [String] = [], file: String = "rotations.safetensors"
        ) throws -> (rotated: Double?, output: String) {
            let settings = ["rotation.path=out/\(file)"] + more
            let outcome = try Program.run(
                ["eval"] + model.arguments() + ["--out", "eval", "--overwrite"] + settings.flatMap { ["--set", $0] },
                in: model.path)
            #expect(outcome.code == 0, "\(outcome.errors)")
            let summary = try InputFile.json(model.file("eval/summary.json"))
            return (summary["perplexity"]?["rotated"]?.number, outcome.output + outcome.errors)
        }

        @Test func `rotations are scored as they were learned, with no setting repeated`() throws {
            let model = try ModelFolder()
            let settings = [
                "quantization.weights.bits=4", "quantization.weights.symmetric=false", "quantization.activations.bits=8",
                "quantization.kv.bits=3", "quantization.kv.value_bits=8", "rotation.r3=none", "rotation.r4=none",
            ]
            let outcome = try Program.run(model.arguments() + settings.flatMap { ["--set", $0] }, in: model.path)
            #expect(outcome.code == 0 && !outcome.output.contains("R3 (") && !outcome.output.contains("R4 ("), "\(outcome)")
            #expect(outcome.output.contains("W4 A8 K3 V8, 2 windows of 16 tokens"), "\(outcome.output)")
            let learned = try InputFile.json(model.file("out/summary.json"))["perplexity"]?["learned"]?.number
            let same = try evaluate(model)
            // The rotations are merged into the weights here and not there; some processors' products then round differently.
            #expect(abs(try #require(same.rotated) / #require(learned) - 1) < 1e-5)
            #expect(!same.output.contains("note:"), "\(same.output)")
            // What is asked for counts for more, and is pointed out.
            let other = try evaluate(model, ["quantization.kv.bits=4", "rotation.r4=hadamard"])
            #expect(other.output.contains("W4 A8 KV4"), "\(other.output)")
            #expect(other.output.contains("learned for rotation.r4 none and is used for hadamard"), "\(other.output)")
            #expect(try evaluate(model, file: "R.bin").output.contains("does not say what it was learned for"))
        }

        @Test func `rotations of other weights are refused, and used where that is asked for`() throws {
            let model = try ModelFolder()
            #expect(try Program.run(model.arguments(), in: model.path).code == 0)
            try model.changeHeader { $0.replacing("\"pt\"", with: "\"np\"") }
            #expect(!(try evaluate(model).output.contains("note:")))
            var bytes = try model.read("model/model.safetensors")
            bytes[bytes.count - 4] ^= 1
            try model.write(bytes, to: "model/model.safetensors")
            let arguments = model.arguments() + ["--set", "rotation.path=out/rotations.safetensors"]
            for job in ["eval", "rotate"] {
                try Program.expectRefusal(
                    [job] + arguments + ["--out", "new"], in: model.path, ranks: 0, code: 65, fragment: "allow_mismatch")
            }
            #expect(try evaluate(model, ["allow_mismatch=true"]).output.contains("other weights"))
        }

        /// Everything that a run's table and its repetition share, by row: `learned` is called `rotated` there, and what
        /// training has made `trained` or `ternary`.
        @Test(arguments: [
            ("rotate --set quantization.weights.bits=4", ["rtn": "rtn", "hadamard": "hadamard", "learned": "rotated"]),
            (
                "rotate --set rotation.balance=true --set quantization.weights.bits=4 --set calibration.sequences=4",
                ["rtn_balanced": "rtn_balanced", "hadamard": "hadamard", "learned": "rotated", "written": "trained"]
            ),
            ("rotate --set model.dtype=bf16", ["rtn": "rtn", "hadamard": "hadamard", "learned": "rotated"]),
            ("rotate --set rotation.starts=2 --set export.formats=r-bin", ["rtn": "rtn", "learned": "rotated"]),
            ("rotate --set rotation.r1=none --set rotation.r2=none", ["rtn": "rtn", "hadamard": "hadamard"]),
            ("ptq --set ternary.tolerance=0.3", ["int4": "int4", "int3": "int3", "ternary_ptq": "ternary"]),
            ("ptq --set ternary.tolerance=0.3 --set model.dtype=bf16", ["ternary_ptq": "ternary"]),
            ("qat --set ternary.tolerance=0.3 --set model.dtype=bf16", ["int4": "int4", "ternary_qat": "ternary"]),
            ("qat --set qat.method=integer --set quantization.weights.bits=4", ["rtn": "rtn", "integer_qat": "trained"]),
            (
                "quantize --set quantization.weights.bits=4 --set quantization.activations.bits=4",
                ["rtn": "rtn", "quantized": "trained"]
            ),
        ])
        func `eval of a run folder makes the run's table again`(_ command: String, _ rows: [String: String]) throws {
            let model = try ModelFolder()
            let outcome = try Program.run(command.split(separator: " ").map(String.init) + model.arguments(), in: model.path)
            #expect(outcome.code == 0, "\(outcome)")
            let again = try Program.run(["eval", "out", "--out", "again"], in: model.path)
            #expect(again.code == 0, "\(again)")
            let (first, second) = try (
                InputFile.json(model.file("out/summary.json")), InputFile.json(model.file("again/summary.json"))
            )
            for (row, same) in rows.merging(["full_precision": "full_precision"], uniquingKeysWith: { $1 }) {
                for key in row == "full_precision" ? ["perplexity"] : ["perplexity", "kl_divergence"] {
                    let (a, b) = try (#require(first[key]?[row]?.number), #require(second[key]?[same]?.number))
                    #expect(abs(a - b) <= 1e-5 * max(1, a), "\(key) of \(row): \(a), then \(b)")
                }
            }
            // The last row is of what `model/` holds, in the type that it is written in.
            let (rows, bytes) = (first["rows"]?.array ?? [], try #require(first["model_bytes"]?.integer))
            #expect(try #require(rows.last?["bytes"]?.integer) == bytes)
            // What factors compete with is counted in the type of what stands beside them, whatever else is asked for.
            guard command.hasPrefix("ptq") else { return }
            let other = try Program.run(["eval", "out", "--set", "model.dtype=f32", "--out", "other"], in: model.path)
            #expect(other.code == 0, "\(other)")
            let counted = try InputFile.json(model.file("other/summary.json"))["rows"]?.array ?? []
            for key in ["int4", "int3"] {
                let bytes = [rows, counted].map { rows in rows.first { $0["key"]?.string == key }?["bytes"]?.integer }
                #expect(bytes[0] != nil && bytes[0] == bytes[1])
            }
        }

        @Test func `eval of a run follows no bits that its packed model does not have`() throws {
            let model = try ModelFolder()
            let bits = ["quantization.weights.bits=4", "quantization.activations.bits=8"].flatMap { ["--set", $0] }
            #expect(try Program.run(["quantize"] + bits + model.arguments(), in: model.path).code == 0)
            for (setting, said) in [
                ("weights.bits=3", "out/model is compressed and was made with 4"),
                ("overrides=*.q_proj=8", "was made with none"),
                ("activations.bits=4", "out/model is compressed and runs with 8"), ("kv.bits=4", "runs with 16"),
            ] {
                for folder in ["out", "out/model"] {
                    try Program.expectRefusal(
                        ["eval", folder, "--out", "again", "--set", "quantization.\(setting)"], in: model.path, ranks: 0,
                        code: 78, fragment: folder == "out" ? said : "quantization.")
                }
            }
            // What was asked for then may be said again, and of factors and floats bits of inputs are to choose.
            let same = try Program.run(["eval", "out", "--out", "same"] + bits, in: model.path)
            #expect(same.code == 0 && same.errors.isEmpty, "\(same)")
            #expect(try Program.run(["train"] + model.arguments() + ["--out", "trained"], in: model.path).code == 0)
            let other = try Program.run(["eval", "trained", "--out", "other"] + bits, in: model.path)
            #expect(other.code == 0 && other.output.contains("W4 A8"), "\(other)")
        }

        @Test(arguments: [["profile", "model"], ["verify", "model", "model"]])
        func `a command that reads no file of a run refuses one`(_ command: [String]) throws {
            let model = try ModelFolder()
            for key in ["ternary.path", "rotation.path", "qat.rotations"] {
                try Program.expectRefusal(
                    command + ["--set", "\(key)=a"], in: model.path, ranks: 0, code: 78,
                    fragment: "\(key): is a, which \(command[0]) does not read")
            }
        }

        @Test func `eval of a run of qat that began with rotations or with factors scores what it has left`() throws {
            let model = try ModelFolder()
            func run(_ command: String, _ out: String) throws -> Program.Outcome {
                let words = command.split(separator: " ").map(String.init) + model.arguments()
                return try Program.run(words + ["--out", out], in: model.path)
            }
            let start = [("rotate", "rotated"), ("ptq --set ternary.tolerance=0.3", "factors")]
            for (command, out) in start { #expect(try run(command, out).code == 0) }
            let integers = "qat --set qat.method=integer --set quantization.weights.bits=4 --set qat.rotations=rotated"
            for (command, out) in [(integers, "integers"), ("qat --set model.path=factors/model", "trained")] {
                let outcome = try run(command, out)
                #expect(outcome.code == 0, "\(outcome)")
                let again = try Program.run(["eval", out, "--out", "again-\(out)"], in: model.path)
                #expect(again.code == 0, "\(again)")
                let last = try ["\(out)", "again-\(out)"].map { folder in
                    try #require(InputFile.json(model.file("\(folder)/summary.json"))["rows"]?.array?.last)
                }
                let perplexities = try last.map { try #require($0["perplexity"]?.number) }
                #expect(abs(perplexities[0] - perplexities[1]) <= 1e-5 * perplexities[0])
                #expect(last[0]["bytes"]?.integer == last[1]["bytes"]?.integer)
            }
        }

        @Test func `factors trained with other weights are refused with the original's, and used where that is asked for`()
            throws
        {
            let model = try ModelFolder()
            let outcome = try Program.run(["qat", "--set", "ternary.tolerance=0.3"] + model.arguments(), in: model.path)
            #expect(outcome.code == 0, "\(outcome)")
            let arguments = ["eval"] + model.arguments() + ["--set", "ternary.path=out/ternary.safetensors", "--out", "new"]
            try Program.expectRefusal(arguments, in: model.path, ranks: 0, code: 65, fragment: "were trained together with")
            let allowed = try Program.run(arguments + ["--set", "allow_mismatch=true"], in: model.path)
            #expect(allowed.code == 0 && allowed.output.contains("note: the factors of"), "\(allowed)")
            let own = try Program.run(arguments + ["--set", "model.path=out/model", "--overwrite"], in: model.path)
            #expect(own.code == 0 && !own.output.contains("note:"), "\(own)")
        }

        @Test(arguments: [("f32", "float32", 4), ("bf16", "bfloat16", 2)])
        func `the model written has the type asked for, and a line says what it is`(_ type: String, _ name: String, _ size: Int)
            throws
        {
            let model = try ModelFolder()
            let outcome = try Program.run(model.arguments() + ["--set", "model.dtype=\(type)"], in: model.path)
            #expect(outcome.code == 0, "\(outcome)")
            #expect(outcome.output.contains(", \(name), rotated, weights not quantized"), "\(outcome.output)")
            let written = try SafetensorsFile(model.file("out/model/model.safetensors"))
            #expect(try written.info("model.norm.weight").type.size == size)
            #expect(outcome.output.contains("rounded to bfloat16") == (type == "bf16"))
        }

        @Test(arguments: [
            ("r1=none,r2=none,r3=none,r4=none", ["full_precision", "rtn", "rtn_folded"]),
            ("r1=hadamard,r2=hadamard", ["full_precision", "rtn", "rtn_folded", "hadamard"]),
            ("r1=learned,r2=none", ["full_precision", "rtn", "rtn_folded", "hadamard", "learned"]),
        ])
        func `a row is called what was done`(_ rotations: String, _ rows: [String]) throws {
            let model = try ModelFolder()
            let settings = rotations.split(separator: ",").flatMap { ["--set", "rotation.\($0)"] }
            let outcome = try Program.run(model.arguments() + settings, in: model.path)
            #expect(outcome.code == 0, "\(outcome.errors)")
            let summary = try InputFile.json(model.file("out/summary.json"))
            #expect(summary["perplexity"]?.object?.keys.sorted() == rows.sorted(), "\(outcome.output)")
            if !rows.contains("learned") {
                #expect(summary["improved"] == .bool(false))
                #expect(outcome.output.contains("nothing was learned"))
            }
        }
    }
}
