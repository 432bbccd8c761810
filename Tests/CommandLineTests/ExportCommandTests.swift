import Foundation
import HuggingFace
import Support
import TestSupport
import Testing

extension CommandLineTests {
    @Suite struct Export {
        @Test func `a model goes to GGUF and back, and the first of two ranks alone writes`() throws {
            let model = try ModelFolder()
            let exported = try Program.run(
                ["export", "model", "--format", "gguf-f32", "--out", "a.gguf"], in: model.path, ranks: 2)
            // The folder's tokenizer has more tokens than the model.
            #expect(exported.code == 78 && exported.errorLines.count == 1, "\(exported.errors)")
            #expect(exported.errorLines.first?.contains("but the model has rows for") == true, "\(exported.errors)")
            let dense = try Program.run(
                ["export", "model", "--format", "huggingface", "--out", "dense", "--dtype", "bfloat16"], in: model.path,
                ranks: 2)
            #expect(dense.code == 0 && dense.output.contains("read back, equal to the source's in BF16"), "\(dense.errors)")
            #expect(dense.output.split(separator: "\n").count == 1, "\(dense.output)")
            #expect(PathKind(model.file("dense/model.safetensors")) == .file)
        }

        @Test func `packed linears are exported as the floats they stand for, and rounded activations are refused`() throws {
            let model = try ModelFolder()
            func quantize(_ out: String, _ more: [String]) throws {
                let settings = ["quantization.weights.bits=4"] + more
                let outcome = try Program.run(
                    ["quantize"] + model.arguments() + settings.flatMap { ["--set", $0] } + ["--out", out], in: model.path)
                #expect(outcome.code == 0, "\(outcome.errors)")
            }
            try quantize("weights", [])
            let exported = try Program.run(
                ["export", "weights", "--format", "huggingface", "--out", "dense", "--dtype", "float32"], in: model.path)
            #expect(exported.code == 0 && exported.output.contains("as the floats they stand for"), "\(exported)")
            let verified = try Program.run(
                ["verify", "weights", "dense", "--set", "verify.tolerance=1e-6"] + text, in: model.path)
            #expect(verified.code == 0, "\(verified)")
            try quantize("activations", ["quantization.activations.bits=8"])
            try Program.expectRefusal(
                ["export", "activations", "--format", "huggingface", "--out", "refused"], in: model.path, ranks: 0, code: 78,
                fragment: "activations that are rounded")
        }

        private let text = ["--set", "data.eval.path=data.safetensors", "--set", "data.sequence_length=16"]

        @Test(arguments: [
            (["export", "model", "--format", "gguf-q5", "--out", "a"], 64 as Int32, "expected one of huggingface"),
            (["export", "model", "--format", "huggingface", "--out", "a", "--dtype", "int4"], 64, "--dtype 'int4'"),
            (["export", "model", "--format", "gguf-f16", "--out", "a", "--dtype", "float32"], 64, "--format huggingface"),
            (["export", "model", "--format", "huggingface", "--out", "a", "--shard-bytes", "0"], 64, "--shard-bytes '0'"),
            (["export", "nowhere", "--format", "huggingface", "--out", "a"], 66, "nowhere"),
            (["export", "model", "--format", "huggingface", "--out", "data.safetensors"], 78, "is not a model's folder"),
            (["export", "model", "--format", "r-bin", "--out", "a"], 78, "holds no rotations.safetensors"),
            (["import", "data.safetensors", "--out", "a"], 65, "byte 0: is not a GGUF file"),
            (["eval", "tokens.gguf"], 65, "tokens.gguf"),
            (["import", "missing.gguf", "--out", "a"], 66, "there is no such file"),
        ])
        func `what cannot be done is one line, and writes nothing`(arguments: [String], code: Int32, fragment: String) throws {
            let model = try ModelFolder()
            try model.write("GGUF", to: "tokens.gguf")
            try Program.expectRefusal(arguments, in: model.path, ranks: 0, code: code, fragment: fragment)
        }
    }
}
