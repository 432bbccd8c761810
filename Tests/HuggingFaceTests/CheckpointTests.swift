import Glibc
import HuggingFace
import Support
import TensorCore
import TestSupport
import Testing

@Suite struct CheckpointTests {
    let folder: TemporaryFolder
    init() throws { folder = try TemporaryFolder() }

    private func sources(_ count: Int) -> [TensorSource] {
        (0..<count).map { TensorSource("layer.\($0).weight", Tensor(repeating: Float($0), [10, 10])) }
    }

    private func writeIndex(_ map: JSONValue) throws {
        let index: JSONValue = ["metadata": ["total_size": 400], "weight_map": map]
        try AtomicFile.write(index.text(), to: folder.file("model.safetensors.index.json"))
    }

    @Test func `a small model is one file, a large one is shards with an index, and both read alike`() throws {
        for (limit, files) in [(1 << 30, 1), (900, 4)] {
            let target = try TemporaryFolder()
            try Checkpoint.write(sources(5), to: target.path, maximumShardSize: limit)
            #expect(try entries(ofFolder: target.path).count == files)
            let checkpoint = try Checkpoint(target.path)
            #expect(checkpoint.names == (0..<5).map { "layer.\($0).weight" })
            for index in 0..<5 {
                #expect(try checkpoint.read("layer.\(index).weight", shape: [10, 10]).maxMagnitude == Float(index))
            }
            #expect(throws: FileError.self) { try checkpoint.read("layer.0.weight", shape: [100]) }
            #expect(throws: FileError.self) { try checkpoint.read("layer.9.weight") }
        }
    }

    @Test func `shards are named and indexed as Hugging Face does`() throws {
        try Checkpoint.write(sources(3), to: folder.path, maximumShardSize: 800)
        let index = try InputFile.json(folder.file("model.safetensors.index.json"))
        #expect(index["metadata"]?["total_size"] == 1200)
        #expect(index["metadata"]?["program"] == .string(ProgramVersion.name))
        #expect(index["weight_map"]?["layer.2.weight"] == "model-00002-of-00002.safetensors")
        #expect(try SafetensorsFile(folder.file("model-00001-of-00002.safetensors")).metadata == Checkpoint.ownMetadata)
        #expect(Checkpoint.ownMetadata == ["format": "pt", "program": ProgramVersion.name])
    }

    @Test(arguments: [
        "/etc/passwd", "/tmp/a.safetensors", "../a.safetensors", "b/a.safetensors", "..", ".a.safetensors", "a.bin", "",
        "a\\b.safetensors", "a\0.safetensors",
    ])
    func `a shard is a plain file name`(name: String) throws {
        try writeIndex(["w": .string(name)])
        #expect { try Checkpoint(folder.path) } throws: { error in
            (error as? FileError)?.exitCode == .data && "\(error)".contains("is refused")
        }
    }

    @Test func `a link that leaves the folder is refused, one that stays is followed`() throws {
        let outside = try TemporaryFolder()
        try SafetensorsFile.write([TensorSource("w", Tensor(zeros: [4]))], to: outside.file("o.safetensors"))
        try writeIndex(["w": "a.safetensors"])
        try #require(symlink(outside.file("o.safetensors"), folder.file("a.safetensors")) == 0)
        #expect { try Checkpoint(folder.path) } throws: { "\($0)".contains("leaves the folder") }
        try removeTree(folder.file("a.safetensors"))
        try SafetensorsFile.write([TensorSource("w", Tensor(zeros: [4]))], to: folder.file("real.safetensors"))
        try #require(symlink("real.safetensors", folder.file("a.safetensors")) == 0)
        #expect(try Checkpoint(folder.path).names == ["w"])
    }

    @Test func `each tensor must be in the shard the index names, and no other`() throws {
        try SafetensorsFile.write(
            [TensorSource("w", Tensor(zeros: [4])), TensorSource("stray", Tensor(zeros: [4]))], to: folder.file("a.safetensors")
        )
        try writeIndex(["w": "a.safetensors", "v": "a.safetensors"])
        #expect { try Checkpoint(folder.path) } throws: { "\($0)".contains("weight_map.v: a.safetensors holds no such tensor") }
        try writeIndex(["w": "a.safetensors"])
        #expect { try Checkpoint(folder.path) } throws: { "\($0)".contains("tensor stray: is not assigned") }
    }

    @Test func `an index without a map, a folder without a model and a missing shard are refused`() throws {
        #expect { try Checkpoint(folder.path) } throws: { ($0 as? FileError)?.exitCode == .noInput }
        for map: JSONValue in [nil, [:], [], ["w": 1]] {
            try writeIndex(map)
            #expect { try Checkpoint(folder.path) } throws: { ($0 as? FileError)?.exitCode == .data }
        }
        try writeIndex(["w": "absent.safetensors"])
        #expect { try Checkpoint(folder.path) } throws: { ($0 as? FileError)?.exitCode == .noInput }
    }

    @Test func `the golden models' folders are read`() throws {
        var read = 0
        for golden in GoldenSuite.cases(group: "llama") {
            guard let path = golden.params["hf_folder"]?.string, PathKind(try GoldenSuite.path(path)) == .folder else {
                continue
            }
            // Other networks, such as those for images, have tensors of integers and other keys.
            let config = try HFConfig(GoldenSuite.path(path) + "/config.json")
            guard config.has("hidden_size") else { continue }
            let checkpoint = try Checkpoint(GoldenSuite.path(path))
            for name in checkpoint.names where try checkpoint.info(name).type.isFloat {
                #expect(try checkpoint.read(name).isFinite)
            }
            #expect(try config.extent("hidden_size") > 0)
            read += 1
        }
        #expect(read > 0)
    }
}
