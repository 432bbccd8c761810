import HuggingFace
import Models
import Rotation
import Support
import TensorCore
import TestSupport
import Testing

@testable import Configuration

/// `quantization.clip_ratios`, and what stands for it where it is not there yet.
@Suite struct ClipRatioSettingTests {
    private static let key = "quantization.clip_ratios"

    private func ratios(_ text: String) throws -> ClipRatios {
        try RunConfig(assignments: ["\(Self.key)=\(text)"]).quantization.clipRatios
    }

    @Test func `words and lists are ratios`() throws {
        #expect(try RunConfig().quantization.clipRatios == .none && ratios("none") == .none)
        #expect(try ratios("rotated") == .rotated && ClipRatios.rotated[.downInput] == 0.85)
        let some = try ratios("down_input=1.5,key=0.9,value=1")
        #expect(ClipRatios.sites.map { some[$0] } == [1, 0.9, 1, 1, 1, 1.5])
        #expect(try ratios("key=1") == .none)
    }

    /// What a run has recorded stays what it was, whatever the words mean later.
    @Test(arguments: ["none", "rotated", "down_input=0.7", "value=1.25,key=0.1"])
    func `a configuration says its ratios in numbers, and reads them back`(_ text: String) throws {
        let config = try RunConfig(assignments: ["\(Self.key)=\(text)"])
        let folder = try TemporaryFolder()
        try AtomicFile.write(config.yaml, to: folder.file("config.yaml"))
        #expect(try RunConfig(file: folder.file("config.yaml")).quantization.clipRatios == config.quantization.clipRatios)
        #expect(try RunConfig(encoded: config.encoded) == config)
        #expect(!config.yaml.contains("clip_ratios: rotated"))
    }

    @Test(arguments: [
        "", "keys=0.9", "query=0.9", "key", "key=", "key=0", "key=1e-60", "key=1e-40", "key=-0.9", "key=1.51", "key=nan",
        "key=0.9,key=0.9",
        "key=0.9,", "rotated,key=1", "Key=0.9",
    ])
    func `what is no ratio of a site is refused in a line that names the sites`(_ text: String) {
        let error = #expect(throws: ConfigurationError.self) { try ratios(text) }
        let line = error?.description ?? ""
        #expect(line.contains(Self.key) && line.contains("down_input") && line.contains("from 0.001 to 1.5"), "\(line)")
        #expect(!line.contains("\n"))
    }

    @Test func `recorded configurations and checkpoints from before have ratios of 1`() throws {
        #expect(RunConfig.formerValues(of: [:])[Self.key] == "none")
        let folder = try TemporaryFolder()
        try AtomicFile.write("quantization:\n  kv:\n    bits: 4\n", to: folder.file("config.yaml"))
        #expect(try RunConfig(recordedIn: folder.file("config.yaml")).quantization.clipRatios == .none)
    }

    private func rotations(_ metadata: [String: String]) throws -> (folder: TemporaryFolder, path: String) {
        let folder = try TemporaryFolder()
        let path = folder.file("rotations.safetensors")
        try SafetensorsFile.write([TensorSource("R1", Tensor(identity: 4))], to: path, metadata: metadata)
        return (folder, path)
    }

    @Test func `rotations say which ratios they were learned with, and older ones none`() throws {
        let config = try RunConfig(assignments: ["\(Self.key)=key=0.9"])
        let made = RotationMetadata.make(config, modelDigest: "d")
        #expect(made["clip_ratios"] == "key=0.9")
        var older = made
        older["clip_ratios"] = nil
        for (entries, text) in [(made, "key=0.9"), (older, "none")] {
            let (folder, path) = try rotations(entries)
            defer { withExtendedLifetime(folder) {} }
            let metadata = try RotationMetadata(of: path)
            #expect(metadata.settings(besides: []).first { $0.setting == Self.key }?.value == text)
            let differs = metadata.differences(config).contains { $0.setting == Self.key }
            #expect(differs == (text == "none"))
            let adopted = try SettingsRequest(assignments: ["rotation.path=\(path)"]).configuration(job: "eval")
            #expect(adopted.values[Self.key] == text)
            let given = ["rotation.path=\(path)", "\(Self.key)=rotated"]
            #expect(try SettingsRequest(assignments: given).configuration(job: "eval").quantization.clipRatios == .rotated)
        }
    }
}
