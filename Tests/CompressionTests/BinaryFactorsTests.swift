import Compression
import EmbeddedModel
import HuggingFace
import Models
import Support
import TensorCore
import TernarySVD
import TestSupport
import Testing

/// Folders as NanoQuant writes them, built here bit by bit.
@Suite struct BinaryFactorsTests {
    private let folder: TemporaryFolder
    private let source: ModelFolder
    private let packed = "model.layers.2.mlp.up_proj"
    private let rank = 37

    init() throws {
        folder = try TemporaryFolder()
        source = try ModelFolder(EmbeddedModel.path)
    }

    private struct Layer {
        var u: Tensor, v: Tensor
        var pre: [Float], mid: [Float]?, post: [Float]
    }

    private func layer(hasMiddle: Bool) throws -> Layer {
        let shape = try #require(source.architecture.linears.first { $0.name == packed }?.shape)
        var random = RandomStream(seed: 3)
        func signs(_ shape: [Int]) -> Tensor {
            Tensor(Tensor(normal: shape, from: &random).elements.map { $0 < 0 ? -1 : 1 }, shape)
        }
        // What bfloat16 holds.
        func scales(_ count: Int) -> [Float] { Tensor(normal: [count], from: &random).rounded(to: .bf16).elements }
        return Layer(
            u: signs([shape[0], rank]), v: signs([rank, shape[1]]), pre: scales(shape[1]),
            mid: hasMiddle ? scales(rank) : nil, post: scales(shape[0]))
    }

    /// 32 entries a word, the lowest bit first, set where an entry is −1.
    private func words(_ t: Tensor) -> [UInt8] {
        var bytes: [UInt8] = []
        for row in 0..<t.rows {
            for first in stride(from: 0, to: t.columns, by: 32) {
                var word: UInt32 = 0
                for column in first..<min(first + 32, t.columns) where t[row, column] < 0 {
                    word += 1 << UInt32(column - first)
                }
                withUnsafeBytes(of: word.littleEndian) { bytes += $0 }
            }
        }
        return bytes
    }

    /// Writes the folder with one linear as factors; `change` edits the tensors.
    private func write(_ layer: Layer, change: (inout [String: TensorSource]) -> Void = { _ in }) throws {
        var tensors: [String: TensorSource] = [:]
        for (name, value) in try source.parameters().named where name != packed + ".weight" {
            tensors[name] = TensorSource(name, .f32, value.shape) { .floats(value) }
        }
        func add(_ suffix: String, _ type: ElementType, _ shape: [Int], _ content: TensorSource.Content) {
            tensors[packed + suffix] = TensorSource(packed + suffix, type, shape) { content }
        }
        for (name, factor) in [("U", layer.u), ("V", layer.v)] {
            add(".\(name)_packed", .i32, [factor.rows, (factor.columns + 31) / 32], .bytes(words(factor)))
            tensors["\(packed).\(name)_shape"] = TensorSource(
                "\(packed).\(name)_shape", integers: [factor.rows, factor.columns], [2], as: .i64)
        }
        for (name, scales) in [("pre", layer.pre), ("mid", layer.mid), ("post", layer.post)] {
            guard let scales else { continue }
            add(".scale_\(name)", .bf16, [1, scales.count], .floats(Tensor(scales, [1, scales.count])))
        }
        change(&tensors)
        let writer = try HFFolderWriter(folder.file("model"))
        try Checkpoint.write(tensors.values.sorted { $0.name < $1.name }, to: writer.temporaryPath)
        try writer.write(HFConfig(EmbeddedModel.path + "/config.json").text, as: "config.json")
        try writer.write("{\"admm_type\": \"nanoquant\"}", as: "nanoquant_config.json")
        try writer.commit()
    }

    @Test(arguments: [false, true]) func `a layer is the product of signs and scales`(hasMiddle: Bool) throws {
        let layer = try layer(hasMiddle: hasMiddle)
        try write(layer)
        let opened = try CompressedFolder(folder.file("model"))
        #expect(!opened.isShared && !opened.isPlain && opened.folder.packed?.ternary.count == 1)
        #expect(try CompressedFolder.execution(of: folder.file("model")) == .plain)
        let parameters = try opened.folder.parameters()
        let index = try #require(parameters.named.firstIndex { $0.name == packed + ".weight" })
        let weight = parameters.named[index].value
        for row in [0, 1, weight.rows - 1] {
            for column in [0, 31, 32, weight.columns - 1] {
                let sum = (0..<rank).reduce(0.0) {
                    $0 + Double(layer.u[row, $1] * (layer.mid?[$1] ?? 1) * layer.v[$1, column])
                }
                let expected = Double(layer.post[row]) * sum * Double(layer.pre[column])
                #expect(abs(Double(weight[row, column]) - expected) <= 1e-5 * max(1, abs(expected)))
            }
        }
        for (name, value) in parameters.named where name != packed + ".weight" {
            #expect(try value.elements == source.checkpoint.read(name).elements)
        }
        let factors = try #require(try opened.folder.packed?.read(packed + ".weight") as? TernaryFactors)
        #expect(factors.u.unpacked.elements == layer.u.elements && factors.v.unpacked.elements == layer.v.elements)
        // The files' bytes: both factors, the four numbers of their shapes, the scales.
        let bytes =
            4 * (layer.u.rows * 2 + rank * ((layer.v.columns + 31) / 32)) + 32
            + 2 * (layer.pre.count + layer.post.count + (layer.mid?.count ?? 0))
        #expect(try opened.folder.packed?.byteCount(of: packed + ".weight") == bytes)
        #expect(try SharedForm.obstacle(opened, rotates: false)?.contains("--format onnx") == true)
    }

    @Test func `ternary factors beside binary ones are refused`() throws {
        try write(layer(hasMiddle: false))
        let path = folder.file("model/ternary.safetensors")
        try AtomicFile.write("", to: path)
        let error = #expect(throws: FileError.self) { try CompressedFolder(folder.file("model")) }
        #expect(error?.place == path && error?.description.contains("is present as well as nanoquant_config.json") == true)
        #expect(error?.exitCode == .data)
    }

    @Test func `what does not fit is refused by name`() throws {
        let layer = try layer(hasMiddle: true)
        func problem(_ change: (inout [String: TensorSource]) -> Void) throws -> String {
            try write(layer, change: change)
            defer { try? removeTree(folder.file("model")) }
            let error = #expect(throws: FileError.self) {
                let opened = try CompressedFolder(folder.file("model"))
                _ = try opened.folder.parameters()
            }
            return error?.description ?? ""
        }
        #expect(try problem { $0[packed + ".scale_pre"] = nil }.contains("\(packed).scale_pre"))
        #expect(try problem { $0[packed + ".V_packed"] = nil }.contains("\(packed).V_packed"))
        #expect(
            try problem { $0[packed + ".U_shape"] = TensorSource(packed + ".U_shape", integers: [rank, 3], [2], as: .i64) }
                .contains("U_shape: is [\(rank), 3], not [\(layer.u.rows), \(rank)]"))
        #expect(
            try problem {
                let scales = Tensor(repeating: .infinity, [1, rank])
                $0[packed + ".scale_mid"] = TensorSource(packed + ".scale_mid", .bf16, [1, rank]) { .floats(scales) }
            }.contains("\(packed).scale_mid"))
        #expect(
            try problem {
                let bytes = words(layer.u).enumerated().map { $0.offset == 7 ? $0.element | 0x80 : $0.element }
                $0[packed + ".U_packed"] = TensorSource(packed + ".U_packed", .i32, [layer.u.rows, 2]) { .bytes(bytes) }
            }.contains("beyond the 37 entries"))
        #expect(
            try problem {
                $0[packed + ".V_latent"] = TensorSource(packed + ".V_latent", .f32, [1]) { .floats(Tensor(zeros: [1])) }
            }
            .contains("V_latent"))
    }
}
