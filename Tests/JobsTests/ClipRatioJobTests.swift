import Collectives
import Compression
import HuggingFace
import Models
import Parallelism
import Rotation
import Support
import TestSupport
import Testing

@testable import Configuration
@testable import Jobs
@testable import Runs

/// Jobs with ranges that ratios scale.
@Suite struct ClipRatioJobTests {
    private let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
        let text = (0..<60).map { "In \(1850 + $0) the river rose again, and the \($0)th bridge was closed for a week. " }
        try AtomicFile.write(text.joined(), to: folder.file("text.txt"))
    }

    private func run(_ job: some Job, _ name: String, _ settings: [String]) throws -> JSONValue {
        let text = folder.file("text.txt")
        return try summary(
            of: job, in: folder, name,
            ["data.train.path=\(text)", "data.eval.path=\(text)", "calibration.sequences=8"] + settings)
    }

    /// Of a row, nil for the last one.
    private func perplexity(_ summary: JSONValue, _ row: String? = nil) throws -> Double {
        let rows = try #require(summary["rows"]?.array)
        return try #require(rows.last { row == nil || $0["key"]?.string == row }?["perplexity"]?.number)
    }

    private static let bits = [
        "quantization.weights.bits=4", "quantization.activations.bits=4", "quantization.kv.bits=4",
    ]
    private static let online = ["quantize.transform=hadamard", "quantize.online=true"]

    /// With a range a head at the output projection, with one a token, and through GPTQ, whose inputs are rounded so, too.
    @Test(arguments: [
        online, online + ["quantization.activations.head_ranges=false"], ["quantization.weights.method=gptq"],
        ["quantization.activations.symmetric=true", "quantization.kv.symmetric=true"],
    ])
    func `eval of what quantize has written scores what quantize scored`(_ more: [String]) throws {
        let plain = try run(QuantizeJob(), "plain", Self.bits + more)
        let made = try run(QuantizeJob(), "made", Self.bits + more + ["quantization.clip_ratios=rotated"])
        #expect(try perplexity(made) != perplexity(plain))
        let model = "model.path=\(folder.file("made/model"))"
        #expect(try CompressedFolder(folder.file("made/model")).execution.clipRatios == .rotated)
        #expect(try perplexity(run(EvaluateJob(), "eval", [model])) == perplexity(made))
        // Saying the same in another way contradicts nothing; other ratios do.
        let same = "quantization.clip_ratios=down_input=0.85,mlp_input=0.93,key=0.95,value=0.93,attention_input=0.930"
        for given in [same, "quantization.clip_ratios=rotated"] {
            #expect(try perplexity(run(EvaluateJob(), "same-\(given.count)", [model, given])) == perplexity(made))
        }
        let error = #expect(throws: ConfigurationError.self) {
            try run(EvaluateJob(), "other", [model, "quantization.clip_ratios=none"])
        }
        #expect(error?.description.contains("is none") == true && error?.description.contains("down_input=0.85") == true)
    }

    /// The linears round their inputs themselves. 8 bits, so that sums in another order change little.
    @Test func `products of integers round in the same ranges`() throws {
        let bits = ["quantization.weights.bits=4", "quantization.activations.bits=8"]
        let made = try run(QuantizeJob(), "made", bits + ["quantization.clip_ratios=output_input=0.5,down_input=0.4"])
        let counted = try run(
            EvaluateJob(), "eval", ["model.path=\(folder.file("made/model"))", "eval.product=integer"])
        #expect(try abs(perplexity(counted) / perplexity(made) - 1) < 1e-3)
        let plain = try run(QuantizeJob(), "plain", bits)
        #expect(try abs(perplexity(plain) / perplexity(made) - 1) > 1e-2)
    }

    @Test func `what is not rounded has no ratio, and leaves as it would without`() throws {
        _ = try run(
            QuantizeJob(), "weights",
            ["quantization.weights.bits=4", "quantization.clip_ratios=rotated", "export.formats=compressed-tensors"])
        #expect(try CompressedFolder(folder.file("weights/model")).execution == .plain)
        let error = #expect(throws: (any Error).self) {
            try run(
                QuantizeJob(), "inputs",
                [
                    "quantization.weights.bits=4", "quantization.activations.bits=8", "quantization.clip_ratios=rotated",
                    "export.formats=compressed-tensors",
                ])
        }
        let line = error.map { "\($0)" } ?? ""
        #expect(line.contains("export.formats") && line.contains("quantization.clip_ratios=none"), "\(line)")
        #expect(PathKind(folder.file("inputs/model")) == .absent)
    }

    @Test func `rotations are scored, and integer training rounds, in these ranges`() throws {
        let ratios = "quantization.clip_ratios=down_input=0.5"
        let rotate = ["rotation.objective=range", "quantization.activations.bits=8", "quantization.kv.bits=8"]
        let learned = try run(RotateJob(), "rotated", rotate + [ratios])
        let plain = try run(RotateJob(), "plain", rotate)
        for row in ["rtn", "hadamard", "learned"] { #expect(try perplexity(learned, row) != perplexity(plain, row)) }
        let path = "rotation.path=\(folder.file("rotated"))"
        // Without ratios it is 30 % less; codes that move cost 0.1 % of this short text.
        let again = try run(EvaluateJob(), "eval", [path])
        #expect(try abs(perplexity(again, "rotated") / perplexity(learned, "learned") - 1) < 1e-2)
        let train = ["qat.method=integer", "quantization.weights.bits=4", "quantization.activations.bits=8"]
        let trained = try run(QatJob(), "trained", train + [ratios])
        #expect(try CompressedFolder(folder.file("trained/model")).execution.clipRatios[.downInput] == 0.5)
        #expect(try perplexity(trained) != perplexity(run(QatJob(), "trained-plain", train)))
        let model = "model.path=\(folder.file("trained/model"))"
        #expect(try perplexity(run(EvaluateJob(), "eval-trained", [model])) == perplexity(trained))
    }
}
