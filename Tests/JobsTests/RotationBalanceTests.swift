import Collectives
import EmbeddedModel
import HuggingFace
import Models
import Parallelism
import Support
import TensorCore
import TestSupport
import Testing

@testable import Configuration
@testable import Jobs
@testable import Runs

/// `rotate` of balanced channels.
@Suite struct RotationBalanceTests {
    private func run(_ job: some Job, _ folder: TemporaryFolder, _ name: String, _ settings: [String]) throws -> JSONValue {
        try summary(
            of: job, in: folder, name, ["data.sampled_sequences=24", "calibration.sequences=16"] + settings)
    }

    @Test func `rotated channels lose half as much where they were balanced, and the function stays`() throws {
        let folder = try TemporaryFolder()
        let plain = try run(RotateJob(), folder, "plain", [])
        let balanced = try run(RotateJob(), folder, "balanced", ["rotation.balance=true"])
        // 0.06 and 0.03 on text.
        for row in ["hadamard", "learned"] {
            let (a, b) = try (
                #require(plain["kl_divergence"]?[row]?.number), #require(balanced["kl_divergence"]?[row]?.number)
            )
            #expect(b < 0.8 * a, "\(row): \(a), balanced \(b)")
        }
        #expect(balanced["kl_divergence"]?["rtn"] == plain["kl_divergence"]?["rtn"])
        // Against the model as stored, not as balanced.
        #expect(try #require(balanced["invariance_error"]?.number) < 1e-4)
        #expect(balanced["method"]?.string == "channel balance, learned rotations")
        #expect(plain["method"]?.string == "learned rotations")
        let (stored, written) = (try ModelFolder(EmbeddedModel.path), try ModelFolder(folder.file("balanced/model")))
        let up = "model.layers.0.mlp.up_proj.weight"
        #expect(try stored.checkpoint.read(up).elements != written.checkpoint.read(up).elements)
    }

    @Test func `whoever uses the rotations balances as they were learned, unless told otherwise`() throws {
        let folder = try TemporaryFolder()
        _ = try run(
            RotateJob(), folder, "run", ["rotation.balance=true", "rotation.objective=weights", "rotation.r4=none"])
        let path = "rotation.path=\(folder.file("run"))"
        func config(_ job: String, _ more: String...) throws -> RunConfig {
            try SettingsRequest(assignments: [path] + more).configuration(job: job)
        }
        #expect(try config("eval").rotation.balance && config("rotate").rotation.balance)
        #expect(try !config("eval", "rotation.balance=false").rotation.balance)
        #expect(try config("quantize").quantizeTransforms == [.balance, .learned])
        #expect(try config("quantize", "quantize.balance=false").quantizeTransforms == [.learned])
        #expect(try config("quantize", "rotation.balance=false").quantizeTransforms == [.learned])
        let metadata = try RotationMetadata(of: folder.file("run/rotations.safetensors"))
        func differs(_ config: RunConfig) -> Bool { metadata.differences(config).contains { $0.setting == "rotation.balance" } }
        #expect(try differs(config("quantize", "quantize.balance=false")))
        #expect(try !differs(config("quantize")) && !differs(config("quantize", "quantize.balance=true")))
        let quantized = try run(QuantizeJob(), folder, "quantized", [path, "quantization.weights.bits=4"])
        #expect(quantized["method"]?.string == "channel balance, learned rotations, rtn")
    }

    @Test func `quantization-aware training starts from what eval scores with the same rotations`() throws {
        let folder = try TemporaryFolder()
        let bits = ["quantization.weights.bits=16", "quantization.activations.bits=4", "quantization.kv.bits=16"]
        _ = try run(
            RotateJob(), folder, "run",
            ["rotation.balance=true", "rotation.objective=weights", "rotation.r3=none", "rotation.r4=none"])
        let scored = try run(EvaluateJob(), folder, "eval", bits + ["rotation.path=\(folder.file("run"))"])
        let trained = try run(
            QatJob(), folder, "qat", bits + ["qat.method=integer", "qat.rotations=\(folder.file("run"))"])
        let (a, b) = try (
            #require(scored["kl_divergence"]?["rotated"]?.number), #require(trained["kl_divergence"]?["given"]?.number)
        )
        #expect(abs(a - b) < 1e-3 * a, "eval \(a), qat \(b)")
        #expect(trained["products"] == nil)
    }

    @Test func `without R1 quantization-aware training leaves the norms, and a table names R2 alone`() throws {
        let folder = try TemporaryFolder()
        _ = try run(RotateJob(), folder, "run", ["rotation.objective=weights", "rotation.r1=none"])
        _ = try run(
            QatJob(), folder, "qat",
            ["qat.method=integer", "quantization.weights.bits=16", "qat.rotations=\(folder.file("run"))"])
        let gains = try ModelFolder(folder.file("qat/model")).checkpoint.read("model.norm.weight").elements
        #expect(gains.contains { $0 != 1 })
        let rounded = try run(
            QuantizeJob(), folder, "quantized",
            ["quantization.weights.bits=8", "rotation.path=\(folder.file("run"))"])
        #expect(rounded["rows"]?.array?.last?["label"]?.string == "R2, as written")
    }
}
