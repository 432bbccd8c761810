import Compression
import EmbeddedModel
import HuggingFace
import Models
import Quantization
import Support
import TensorCore
import TestSupport
import Testing

@Suite struct TiedHeadTests {
    /// Such a table has no tensor of its own name that a head could be compared with.
    @Test func `beside an embedding that is packed a head of integers is refused, and one of floats used`() throws {
        let (folder, source) = (try TemporaryFolder(), try ModelFolder(EmbeddedModel.path))
        let spec = QuantizerSpec(bits: 4, symmetric: true, granularity: .channel)
        var parameters = try source.parameters()
        let place = try #require(parameters.exit.index(.head))
        let head = parameters.exit[place]
        parameters.exit.remove(place)
        let packed = parameters.mapSpecs { _, parameter, value -> CompressedValue in
            parameter.role == .embedding ? .integer(WeightQuantizer(spec).quantized(value)) : .dense(StoredTensor(value))
        }
        try FolderPacking(embedding: spec, head: spec).write(packed, from: source, as: .f32, to: folder.file("model"))
        func open(with head: TensorSource) throws -> ModelFolder {
            let path = folder.file("model/model.safetensors")
            let file = try SafetensorsFile(path)
            let others = try file.names.filter { $0 != head.name }.map { name in
                let info = try file.info(name)
                return TensorSource(name, info.type, info.shape) { .bytes(try file.readBytes(name)) }
            }
            try SafetensorsFile.write(others + [head], to: path, metadata: file.metadata)
            return try CompressedFolder(folder.file("model")).folder
        }
        let codes = TensorSource(
            "lm_head.weight", integers: [Int](repeating: 37, count: head.count), head.shape, as: .i8)
        #expect { try open(with: codes) } throws: {
            ($0 as? FileError)?.kind == .malformed && "\($0)".contains("lm_head.weight: holds I8 numbers")
        }
        #expect(try !open(with: TensorSource("lm_head.weight", head)).architecture.tiesHead)
    }
}
