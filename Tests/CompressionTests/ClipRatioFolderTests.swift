import EmbeddedModel
import HuggingFace
import LinearAlgebra
import Models
import Quantization
import Rotation
import Support
import TensorCore
import TestSupport
import Testing

@testable import Compression

/// What folders say of the ratios of ranges.
@Suite struct ClipRatioFolderTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    /// The embedded model with weights and inputs of 8 bits, which others could run.
    private func write(_ ratios: ClipRatios) throws -> Execution {
        var execution = Execution.plain
        (execution.activationBits, execution.activationPerHead, execution.clipRatios) = (8, false, ratios)
        try writeEightBits(execution, to: folder.file("model"))
        return execution
    }

    private func change(_ ratios: JSONValue?) throws {
        let path = folder.file("model/config.json")
        var config = try HFConfig(path)
        var own = try #require(config.json["sq_train"]?.object)
        own["clip_ratios"] = ratios
        config.json["sq_train"] = .object(own)
        try AtomicFile.write(config.text, to: path)
    }

    private func logits() throws -> [Float] {
        let opened = try CompressedFolder(folder.file("model"))
        let network = try CompressedModel(reading: opened).network(opened.folder.description.model(positions: 16))
        return network.outputs([(0..<16).map { Int32($0 * 5 + 2) }], from: nil).elements
    }

    @Test func `ratios are recorded, read back, and make the folder this program's own`() throws {
        let plain = try write(.none)
        #expect(try CompressedFolder(folder.file("model")).isShared)
        #expect(try HFConfig(folder.file("model/config.json")).json["sq_train"]?["clip_ratios"] == nil)
        let before = try logits()
        let execution = try write(.rotated)
        let opened = try CompressedFolder(folder.file("model"))
        #expect(opened.execution == execution && opened.execution != plain && !opened.isShared)
        #expect(try HFConfig(folder.file("model/config.json")).json["model_type"]?.string == "sq-train")
        #expect(try logits() != before)
        #expect(try SharedForm.obstacle(opened, rotates: false)?.contains("quantization.clip_ratios=none") == true)
        // Folders from before there were ratios.
        try change(nil)
        #expect(try CompressedFolder(folder.file("model")).execution == plain)
        #expect(try logits() == before)
    }

    /// What others are told to run plainly is not run otherwise here.
    @Test func `a folder that is shared cannot have ratios`() throws {
        _ = try write(.none)
        try change(["down_input": .double(0.5)])
        let error = #expect(throws: FileError.self) { try CompressedFolder(folder.file("model")) }
        #expect(error?.description.contains("other input_activations") == true)
    }

    static let malformed: [(ratios: JSONValue, fragment: String)] = [
        (["downs": .double(0.5)], "downs"), (["down_input": .integer(0)], "not from 0.001"),
        (["down_input": .double(1e-60)], "not from 0.001"), (["down_input": .double(1.6)], "to 1.5"),
        (["key": "0.9"], "key"), (.double(0.9), "clip_ratios"),
    ]

    @Test(arguments: malformed)
    func `ratios that this program does not know are refused by name`(_ ratios: JSONValue, _ fragment: String) throws {
        _ = try write(.rotated)
        try change(ratios)
        let error = #expect(throws: FileError.self) { try CompressedFolder(folder.file("model")) }
        #expect(error?.description.contains(fragment) == true, "\(error?.description ?? "")")
    }
}
