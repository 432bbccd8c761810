import Compression
import EmbeddedModel
import HuggingFace
import LinearAlgebra
import Models
import Quantization
import Support
import TensorCore
import TestSupport
import Testing

/// What folders say of the symmetric ranges of inputs.
@Suite struct SymmetricRangeTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    @Test(arguments: [4, 8]) func `restricted ranges stay restricted, and are not written for others, who have full ones`(
        _ bits: Int
    ) throws {
        var execution = Execution.plain
        (execution.activationBits, execution.activationSymmetric, execution.activationPerHead) = (bits, true, false)
        execution.activationRange = .restricted
        try writeEightBits(execution, to: folder.file("model"))
        let opened = try CompressedFolder(folder.file("model"))
        #expect(!opened.isShared && opened.execution == execution)
        let path = folder.file("model/config.json")
        for (value, found) in [("full", SymmetricRange.full), (nil, .restricted), ("wide", nil)] as [(String?, SymmetricRange?)]
        {
            var config = try HFConfig(path)
            var own = try #require(config.json["sq_train"]?.object)
            var activations = try #require(own["activations"]?.object)
            activations["symmetric_range"] = value.map { .string($0) }
            own["activations"] = .object(activations)
            config.json["sq_train"] = .object(own)
            try AtomicFile.write(config.text, to: path)
            if let found {
                #expect(try CompressedFolder(folder.file("model")).execution.activationRange == found)
            } else {
                let error = #expect(throws: FileError.self) { try CompressedFolder(folder.file("model")) }
                #expect(error?.description.contains("wide is neither full nor restricted") == true)
            }
        }
    }

    /// Written before there were two ranges, with 8 bits for others, too.
    @Test func `a shared folder without a word on symmetric ranges runs as it was scored`() throws {
        var execution = Execution.plain
        (execution.activationBits, execution.activationSymmetric, execution.activationPerHead) = (8, true, false)
        try writeEightBits(execution, to: folder.file("model"))
        let path = folder.file("model/config.json")
        var config = try HFConfig(path)
        var own = try #require(config.json["sq_train"]?.object)
        var activations = try #require(own["activations"]?.object)
        activations["symmetric_range"] = nil
        own["activations"] = .object(activations)
        config.json["sq_train"] = .object(own)
        try AtomicFile.write(config.text, to: path)
        let opened = try CompressedFolder(folder.file("model"))
        #expect(opened.execution.activationRange == .restricted)
        // What config.json tells others is the full range.
        #expect(!opened.isShared)
        #expect(try SharedForm.obstacle(opened, rotates: false)?.contains("symmetric_range=full") == true)
    }
}
