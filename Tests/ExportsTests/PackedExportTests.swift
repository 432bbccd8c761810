import Compression
import HuggingFace
import LinearAlgebra
import Models
import Quantization
import Support
import TensorCore
import TernarySVD
import TestSupport
import Testing

@testable import Exports

/// Models whose linears are packed, in the forms that hold them so.
@Suite struct PackedExportTests {
    private let model: ExportedModel
    private let source: ModelFolder

    init() throws { try self.init("llama_base_hf") }

    private init(_ name: String) throws {
        model = try ExportedModel(name)
        source = try ModelFolder(model.file("model"))
    }

    /// Entries that depend on their place alone; a third are zeros.
    private static func trits(_ rows: Int, _ columns: Int, seed: UInt64) -> PackedTernary {
        var random = RandomStream(seed: seed, stream: 1)
        return PackedTernary(
            Tensor((0..<rows * columns).map { _ in Float(Int(random.next() >> 32) % 3 - 1) }, [rows, columns]))
    }

    /// Replaces the model by one with factors in a linear of each layer, the first one balanced.
    private func makeTernary(_ suffix: String = "down_proj") throws -> [String: TernaryFactors] {
        let linears = source.architecture.linears.filter { $0.name.hasSuffix(suffix) }
        var factors: [String: TernaryFactors] = [:]
        for (index, linear) in linears.enumerated() {
            let (m, n, rank) = (linear.shape[0], linear.shape[1], 37)
            let balance = Balance(a: (0..<m).map { 0.5 + Float($0 % 7) }, b: (0..<n).map { 2 - Float($0 % 5) / 4 })
            factors[linear.name] = TernaryFactors(
                u: Self.trits(m, rank, seed: 1), s: (0..<rank).map { Float($0 + 1) / 50 }, v: Self.trits(rank, n, seed: 2),
                balance: index == 0 ? balance : nil, tolerance: 0.1)
        }
        let packed = try source.parameters().map { name, value -> CompressedValue in
            factors[String(name.dropLast(".weight".count))].map(CompressedValue.ternary) ?? .dense(StoredTensor(value))
        }
        try replace(packed, FolderPacking(factors: factors))
        return factors
    }

    private func replace(_ packed: Parameters<CompressedValue>, _ packing: FolderPacking) throws {
        try packing.write(packed, from: source, as: .f32, to: model.file("packed"))
        try removeTree(model.file("model"))
        try renameDurably(model.file("packed"), to: model.file("model"))
    }

    /// diag(scales)·(codes − 1) as MatMulNBits reads it, without the columns that fill the last block.
    private func matrix(_ name: String, columns: Int, _ tensors: [String: ONNXGraph.Initializer]) throws -> Tensor {
        let (codes, scales, zeros) = (
            try #require(tensors[name]), try #require(tensors[name + ".scales"]), try #require(tensors[name + ".zeros"])
        )
        let (rows, blocks) = (codes.shape[0], codes.shape[1])
        #expect(codes.type == 2 && scales.type == 1 && codes.shape[2] == 8 && scales.bytes.count == 4 * rows * blocks)
        func two(_ bytes: [UInt8], _ index: Int) -> Int { Int(bytes[index / 4] >> UInt8(2 * (index % 4))) & 3 }
        var result = Tensor(zeros: [rows, columns])
        for i in 0..<rows {
            for j in 0..<columns {
                let block = i * blocks + j / 32
                let bits = (0..<4).reduce(UInt32(0)) { $0 | UInt32(scales.bytes[4 * block + $1]) << UInt32(8 * $1) }
                let zero = two(zeros.bytes, i * ((blocks + 3) / 4) * 4 + j / 32)
                result[i, j] = Float(bitPattern: bits) * Float(two(codes.bytes, i * blocks * 32 + j) - zero)
            }
        }
        return result
    }

    @Test func `the tensors of ONNX stand for the factors, filled up to whole blocks`() throws {
        let factors = try makeTernary()
        let report = try model.export("onnx", to: "factors.onnx")
        #expect(report.weights == factors.values.reduce(0) { $0 + $1.u.rows * $1.v.columns })
        let bytes = try InputFile.contents(of: model.file("factors.onnx"), limit: 1 << 24)
        let list = try #require(ONNXGraph.initializers(of: bytes))
        let tensors = Dictionary(uniqueKeysWithValues: list.map { ($0.name, $0) })
        for (name, own) in factors {
            let u = try matrix(name + ".U", columns: own.componentCount, tensors)
            let v = try matrix(name + ".V", columns: own.v.columns, tensors)
            let scaled = matmul(u, .asStored, v, .asStored)
            let expected = own.unpacked()
            if let b = own.balance?.b {
                #expect(try #require(tensors[name + ".b"]).shape == [b.count])
                var product = scaled
                for i in 0..<product.rows { for j in 0..<product.columns { product[i, j] *= b[j] } }
                #expect(maxDifference(product, expected) <= 1e-5 * expected.maxMagnitude)
            } else {
                #expect(maxDifference(scaled, expected) <= 1e-5 * expected.maxMagnitude)
            }
        }
    }

    @Test func `only a file of ONNX is replaced by one`() throws {
        _ = try makeTernary()
        // Begins as one does.
        let mine: [UInt8] = [8] + Array("mine".utf8)
        try AtomicFile.write(mine, to: model.file("out"))
        #expect(try model.refusal("onnx", overwrites: true)?.description.contains("is not an ONNX file") == true)
        #expect(try InputFile.contents(of: model.file("out"), limit: 100) == mine)
        try model.export("onnx", to: "factors.onnx")
        #expect(try model.refusal("onnx", to: "factors.onnx", overwrites: true) == nil)
    }

    @Test func `a layer's bias is in the file of ONNX`() throws {
        let biased = try PackedExportTests("qwen2_hf")
        let factors = try biased.makeTernary("q_proj")
        try biased.model.export("onnx", to: "factors.onnx")
        let bytes = try InputFile.contents(of: biased.model.file("factors.onnx"), limit: 1 << 24)
        let list = try #require(ONNXGraph.initializers(of: bytes))
        #expect(!factors.isEmpty)
        for (name, own) in factors {
            let bias = try biased.source.tensor(name + ".bias", shape: [own.u.rows])
            let stored = try #require(list.first { $0.name == name + ".bias" })
            #expect(bias.maxMagnitude > 0 && stored.shape == bias.shape)
            var bits: [UInt8] = []
            for value in bias.elements { bits.append(littleEndian: value.bitPattern) }
            #expect(stored.bytes == bits)
            // The node that adds it makes the output.
            #expect(String(decoding: bytes, as: UTF8.self).contains("\(name).product"))
        }
    }

    @Test func `a model of floats has nothing for ONNX or compressed-tensors, and factors nothing for the latter`() throws {
        #expect(try model.refusal("onnx")?.problem.contains("sq-train ptq") == true)
        #expect(try model.refusal("compressed-tensors")?.problem.contains("sq-train quantize") == true)
        _ = try makeTernary()
        #expect(try model.refusal("compressed-tensors")?.kind == .unfit)
        #expect(PathKind(model.file("out")) == .absent)
    }

    @Test func `packed integers leave as they are, in shards, with what is known of them`() throws {
        let quantizer = WeightQuantizer(QuantizerSpec(bits: 4, symmetric: true, granularity: .channel))
        let packed = try source.parameters().mapSpecs { _, spec, value -> CompressedValue in
            spec.ports == nil ? .dense(StoredTensor(value)) : .integer(quantizer.quantized(value))
        }
        let specs = source.architecture.linears.map { ($0.name, quantizer.spec) }
        try replace(packed, FolderPacking(integers: Dictionary(uniqueKeysWithValues: specs)))
        try AtomicFile.write(#"{"job": "quantize"}"#, to: model.file("model/provenance.json"))
        try model.export("compressed-tensors", to: "shared", shardBytes: 1 << 14)
        let (before, after) = (try CompressedFolder(model.file("model")), try CompressedFolder(model.file("shared")))
        #expect(PathKind(model.file("shared/model.safetensors")) == .absent)
        #expect(before.folder.checkpoint.names == after.folder.checkpoint.names)
        for name in before.folder.checkpoint.names {
            #expect(
                try before.folder.checkpoint.file(of: name).readBytes(name)
                    == after.folder.checkpoint.file(of: name).readBytes(name)
            )
        }
        #expect(try InputFile.json(model.file("shared/provenance.json"))["job"]?.string == "quantize")
        // Floats have other bits than the record says.
        try model.export("huggingface", to: "floats")
        let provenance = try InputFile.json(model.file("floats/provenance.json"))
        #expect(provenance["job"] == nil && provenance["source_provenance"]?["job"]?.string == "quantize")
        #expect(try provenance["source_sha256"]?.string == before.folder.checkpoint.digest())
    }

    @Test func `zero points are padded for those who make room for them, and read back`() throws {
        let spec = QuantizerSpec(bits: 4, symmetric: false, granularity: .channel)
        let integers = Dictionary(uniqueKeysWithValues: source.architecture.linears.map { ($0.name, spec) })
        let packed = try source.parameters().mapSpecs { _, parameter, value -> CompressedValue in
            parameter.ports == nil ? .dense(StoredTensor(value)) : .integer(WeightQuantizer(spec).quantized(value))
        }
        try replace(packed, FolderPacking(integers: integers))
        try model.export("compressed-tensors", to: "packed")
        try model.export("compressed-tensors-padded", to: "padded")
        let (short, long) = (
            try CompressedFolder(model.file("packed")).folder, try CompressedFolder(model.file("padded")).folder
        )
        for (name, shape) in source.architecture.linears.map({ ($0.name, $0.shape) }) {
            let zero = name + ".weight_zero_point"
            #expect(try short.checkpoint.info(zero).shape == [(4 * shape[0] + 31) / 32, 1])
            #expect(try long.checkpoint.info(zero).shape == [shape[0], 1])
            let weight = name + ".weight"
            #expect(try long.tensor(weight, shape: shape).elements == short.tensor(weight, shape: shape).elements)
        }
        #expect(try model.refusal("compressed-tensors-padded", to: "packed") != nil)
    }
}
