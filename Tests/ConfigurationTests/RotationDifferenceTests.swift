import HuggingFace
import Models
import Rotation
import Support
import TensorCore
import TestSupport
import Testing

@testable import Configuration

/// What a run does otherwise than its rotations were learned for.
@Suite struct RotationDifferenceTests {
    @Test(arguments: [
        (["quantization.kv.bits=4"], ["quantization.kv.bits=8"], ["kv.bits 4 8"]),
        (["quantization.kv.bits=4"], ["quantization.kv.key_bits=8"], ["kv.key_bits 4 8"]),
        (
            ["quantization.kv.bits=4"], ["quantization.kv.key_bits=8", "quantization.kv.value_bits=3"],
            ["kv.key_bits 4 8", "kv.value_bits 4 3"]
        ),
        // The same in other words.
        (
            ["quantization.kv.bits=4"],
            ["quantization.kv.bits=8", "quantization.kv.key_bits=4", "quantization.kv.value_bits=4"], []
        ),
        (["quantization.activations.head_ranges=false"], [], []),
        (
            ["quantization.activations.head_ranges=false"], ["quantization.activations.head_ranges=true"],
            ["activations.head_ranges false true"]
        ),
        ([], ["quantization.activations.head_ranges=true"], []),
        (
            ["quantization.activations.head_ranges=false"], ["quantization.activations.bits=16"],
            ["activations.bits 4 16"]
        ),
    ])
    func `each difference that changes anything is told once`(_ learned: [String], _ used: [String], _ told: [String]) throws {
        let folder = try TemporaryFolder()
        let path = folder.file("rotations.safetensors")
        let metadata = RotationMetadata.make(try RunConfig(assignments: learned), modelDigest: "d")
        try SafetensorsFile.write([TensorSource("R1", Tensor(identity: 4))], to: path, metadata: metadata)
        let differences = try RotationMetadata(of: path).differences(RunConfig(assignments: used))
        #expect(differences.map { "\($0.setting.dropFirst("quantization.".count)) \($0.learned) \($0.used)" } == told)
    }

    @Test func `a plan is for what a file's rotations were learned for, as the job is`() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("rotations.safetensors")
        let learned = ["quantization.weights.bits=4", "quantization.activations.bits=8", "rotation.balance=true"]
        let metadata = RotationMetadata.make(try RunConfig(assignments: learned), modelDigest: "d")
        try SafetensorsFile.write([TensorSource("R1", Tensor(identity: 4))], to: path, metadata: metadata)
        func config(_ job: String, _ command: String) throws -> RunConfig {
            try SettingsRequest(assignments: ["plan.job=\(job)", "rotation.path=\(path)"]).configuration(job: command)
        }
        for job in ["eval", "rotate", "quantize"] { #expect(try config(job, "plan") == config(job, job)) }
        #expect(try config("eval", "plan").quantization.weights.bits == 4 && config("quantize", "plan").rotation.balance)
        #expect(throws: ConfigurationError.self) { try config("train", "plan") }
    }
}
