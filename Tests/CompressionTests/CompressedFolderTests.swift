import Compression
import EmbeddedModel
import Foundation
import HuggingFace
import Models
import Quantization
import Rotation
import Support
import TensorCore
import TernarySVD
import TestSupport
import Testing

/// Folders with packed linears: what is written is what is read.
@Suite struct CompressedFolderTests {
    private let folder: TemporaryFolder
    private let source: ModelFolder
    private let parameters: Parameters<Tensor>

    init() throws {
        folder = try TemporaryFolder()
        source = try ModelFolder(EmbeddedModel.path)
        parameters = try source.parameters()
    }

    /// Writes the embedded model with all linears rounded, and returns them as they were written.
    private func write(_ spec: QuantizerSpec, _ execution: Execution = .plain) throws -> Parameters<CompressedValue> {
        let quantizer = WeightQuantizer(spec)
        var isPortable = true
        let packed = parameters.mapSpecs { _, parameter, value -> CompressedValue in
            guard parameter.ports != nil else { return .dense(StoredTensor(value)) }
            let weight = quantizer.quantized(value)
            isPortable = isPortable && IntegerTensors.isPortable(weight)
            return .integer(weight)
        }
        let names = source.architecture.linears.map { ($0.name, spec) }
        let packing = FolderPacking(
            integers: Dictionary(uniqueKeysWithValues: names), execution: execution, isPortable: isPortable)
        try packing.write(packed, from: source, as: .f32, to: folder.file("model"))
        return packed
    }

    @Test func `factors of which config.json says nothing are not passed over`() throws {
        _ = try write(QuantizerSpec(bits: 4, symmetric: true, granularity: .channel))
        let file = folder.file("model/\(CompressedFolder.factorFileName)")
        try AtomicFile.write("", to: file)
        #expect { try CompressedFolder(folder.file("model")) } throws: { "\($0)".contains("\(file): is beside weights") }
    }

    @Test(arguments: [
        QuantizerSpec(bits: 4, symmetric: true, granularity: .channel),
        QuantizerSpec(bits: 3, symmetric: false, granularity: .channel),
        QuantizerSpec(bits: 8, symmetric: true, granularity: .tensor),
        QuantizerSpec(bits: 5, symmetric: false, granularity: .group(64)),
        // Ranges without 0: zero points outside the codes.
        QuantizerSpec(bits: 2, symmetric: false, granularity: .group(2)),
    ]) func `integers are read as they were written, and multiply like fake-quantized weights`(_ spec: QuantizerSpec) throws {
        let written = try write(spec)
        let read = try CompressedModel(reading: CompressedFolder(folder.file("model")))
        let expected = parameters.mapSpecs { _, parameter, value in
            parameter.ports == nil ? value : WeightQuantizer(spec).fakeQuantized(value)
        }
        for ((a, b), (name, c)) in zip(zip(written.named, read.parameters.named), expected.named) {
            #expect(a.value.tensor.elements == c.elements && b.value.tensor.elements == c.elements, "\(name)")
        }
        let model = source.description.model(positions: 32)
        let tokens = (0..<32).map { Int32($0 * 37 % 2048) }
        let logits = model.logits(tokens, read.parameters)
        #expect(logits.elements == model.logits(tokens, expected).elements)
    }

    /// A tensor has one zero point, which is not packed: other readers count it from the middle of the codes.
    @Test func `zero points are where other readers look for them`() throws {
        let name = "model.layers.0.mlp.up_proj.weight_zero_point"
        let tensor = QuantizerSpec(bits: 4, symmetric: false, granularity: .tensor)
        _ = try write(tensor)
        let one = try CompressedFolder(folder.file("model")).folder.checkpoint
        let expected = WeightQuantizer(tensor).quantized(try source.checkpoint.read("model.layers.0.mlp.up_proj.weight")).zeros
        #expect(try one.info(name).type == .i8 && one.info(name).shape == [1])
        #expect(try one.file(of: name).readInts(name) == [Int(expected[flat: 0]) - 8])
        #expect(try IntegerTensors.paddedRows(name, in: one) == nil)
        _ = try write(QuantizerSpec(bits: 4, symmetric: false, granularity: .group(64)))
        let packed = try CompressedFolder(folder.file("model")).folder.checkpoint
        #expect(try packed.info(name).type == .i32 && packed.info(name).shape == [96, 4])
        #expect(try IntegerTensors.paddedRows(name, in: packed) == 768)
        #expect(try IntegerTensors.paddedRows("model.layers.0.mlp.up_proj.weight_packed", in: packed) == nil)
    }

    /// KL(p‖q) in nats, the mean over positions.
    private func divergence(_ p: Tensor, _ q: Tensor) -> Double {
        func logarithms(_ row: some Sequence<Float>) -> [Double] {
            let values = row.map(Double.init)
            let peak = values.max() ?? 0
            let sum = log(values.reduce(0) { $0 + exp($1 - peak) }) + peak
            return values.map { $0 - sum }
        }
        let (a, b, width) = (p.elements, q.elements, p.columns)
        let sums = (0..<p.rows).map { row in
            let range = row * width..<(row + 1) * width
            return zip(logarithms(a[range]), logarithms(b[range])).reduce(0) { $0 + exp($1.0) * ($1.0 - $1.1) }
        }
        return sums.reduce(0, +) / Double(p.rows)
    }

    /// Sums in another order move an activation across the middle between two codes now and then, which moves all later tokens:
    /// so the first ones are equal to the last digits, and the rest as near as other sums of floats would be.
    @Test(arguments: [4, 8, 0]) func `products in integers are the same roundings in floats`(_ bits: Int) throws {
        var model: CompressedModel
        if bits > 0 {
            var execution = Execution.plain
            (execution.activationBits, execution.activationSymmetric) = (8, false)
            _ = try write(QuantizerSpec(bits: bits, symmetric: true, granularity: .channel), execution)
            model = try CompressedModel(reading: CompressedFolder(folder.file("model")))
        } else {
            // Small ternary changes of every linear are as good as a decomposition here.
            model = CompressedModel(
                parameters.mapSpecs { _, parameter, value -> CompressedValue in
                    guard parameter.ports != nil else { return .dense(StoredTensor(value)) }
                    return .ternary(Self.signs(of: value))
                })
        }
        let graph = source.description.model(positions: 64)
        let tokens = (0..<64).map { Int32($0 * 37 % 2048) }
        func logits(_ model: CompressedModel) -> Tensor { model.network(graph).outputs([tokens], from: nil) }
        let expected = logits(model.inRoundedFloats())
        let found = try logits(model.inIntegers(source.architecture))
        let own = divergence(expected, found)
        #expect(own > 0 && own < 2e-3, "\(own) nats")
        let first = 4 * expected.columns
        let beginnings = [expected, found].map { Tensor(Array($0.elements.prefix(first)), [4, expected.columns]) }
        #expect(divergence(beginnings[0], beginnings[1]) < 1e-9)
        // Rounding itself changes more.
        if bits == 0 { #expect(divergence(logits(model), found) > own) }
    }

    /// I·sign(W), with balanced rows: a rank as large as the matrix is.
    private static func signs(of weight: Tensor) -> TernaryFactors {
        let (m, n) = (weight.shape[0], weight.shape[1])
        let elements = weight.elements
        let scales = (0..<m).map { row in
            (row * n..<(row + 1) * n).reduce(Float(0)) { $0 + abs(elements[$1]) } / Float(n)
        }
        let signs = elements.map { abs($0) < scales[0] / 2 ? 0 : $0 < 0 ? Float(-1) : 1 }
        return TernaryFactors(
            u: PackedTernary(Tensor(identity: m)), s: scales, v: PackedTernary(Tensor(signs, [m, n])), tolerance: 0.1)
    }

    @Test(arguments: [true, false]) func `weights of 8 bits with rounded inputs are bytes, which others read`(_ symmetric: Bool)
        throws
    {
        var execution = Execution.plain
        (execution.activationBits, execution.activationSymmetric, execution.activationPerHead) = (8, symmetric, false)
        let spec = QuantizerSpec(bits: 8, symmetric: symmetric, granularity: .channel)
        _ = try write(spec, execution)
        let path = folder.file("model/config.json")
        var config = try HFConfig(path)
        #expect(config.json["quantization_config"]?["quant_method"]?.string == "compressed-tensors")
        #expect(config.json["quantization_config"]?["format"]?.string == "int-quantized")
        // What others write has no word of ours.
        config.json["sq_train"] = nil
        try AtomicFile.write(config.text, to: path)
        let read = try CompressedModel(reading: CompressedFolder(folder.file("model")))
        #expect(read.execution == execution)
        let linears = read.parameters.named.filter { $0.name.hasSuffix("_proj.weight") }
        #expect(linears.count == source.architecture.linears.count)
        for (name, value) in linears {
            let original = try source.checkpoint.read(name)
            #expect(value.tensor.elements == WeightQuantizer(spec).fakeQuantized(original).elements, "\(name)")
        }
    }

    @Test func `other readers are told what they can run, and refuse the rest`() throws {
        func method() throws -> String? {
            try InputFile.json(folder.file("model/config.json"))["quantization_config"]?["quant_method"]?.string
        }
        _ = try write(QuantizerSpec(bits: 4, symmetric: true, granularity: .group(128)))
        #expect(try method() == "compressed-tensors")
        _ = try write(QuantizerSpec(bits: 2, symmetric: false, granularity: .group(2)))
        #expect(try method() == "sq-train")
        // A method that they do not know others skip; a type of model they refuse.
        #expect(try InputFile.json(folder.file("model/config.json"))["model_type"]?.string == "sq-train")
        var execution = Execution.plain
        (execution.activationBits, execution.r4) = (8, true)
        _ = try write(QuantizerSpec(bits: 4, symmetric: true, granularity: .channel), execution)
        #expect(try method() == "sq-train")
        #expect(try CompressedFolder(folder.file("model")).execution == execution)
        #expect(throws: FileError.self) { try ModelFolder(folder.file("model")) }
    }

    /// Embedding and head as integers, each where it has bits; the linears as they are.
    private func write(embedding: QuantizerSpec?, head: QuantizerSpec?, tied: Bool) throws -> Parameters<CompressedValue> {
        var parameters = parameters
        if tied { parameters.exit.remove(try #require(parameters.exit.index(.head))) }
        let packed = parameters.mapSpecs { _, spec, value -> CompressedValue in
            let own = spec.role == .embedding ? embedding : spec.role == .head ? head : nil
            return own.map { .integer(WeightQuantizer($0).quantized(value)) } ?? .dense(StoredTensor(value))
        }
        try FolderPacking(embedding: embedding, head: head).write(packed, from: source, as: .f32, to: folder.file("model"))
        return packed
    }

    @Test(arguments: [(8, nil, false), (nil, 8, false), (4, 8, false), (8, 8, true), (3, 3, true)] as [(Int?, Int?, Bool)])
    func `embedding and head are read as they were written, and tied ones are one`(
        _ bits: (table: Int?, head: Int?, tied: Bool)
    ) throws {
        let specs = [bits.table, bits.head].map { bits in
            bits.map { QuantizerSpec(bits: $0, symmetric: true, granularity: .channel) }
        }
        let written = try write(embedding: specs[0], head: specs[1], tied: bits.tied)
        let opened = try CompressedFolder(folder.file("model"))
        let packed = try #require(opened.folder.packed)
        #expect(opened.folder.architecture.tiesHead == bits.tied && packed.integers.isEmpty)
        let names = (bits.head != nil && !bits.tied ? ["lm_head"] : []) + (bits.table != nil ? ["model.embed_tokens"] : [])
        #expect(packed.tables.count == names.count && packed.form == "integers (\(names.joined(separator: ", ")))")
        #expect(opened.isShared == (bits.table == nil || bits.table == 8 && !bits.tied))
        let read = try CompressedModel(reading: opened)
        for (a, b) in zip(written.named, read.parameters.named) {
            #expect(a.name == b.name && a.value.tensor.elements == b.value.tensor.elements, "\(a.name)")
        }
        let graph = opened.folder.description.model(positions: 16)
        let tokens = (0..<16).map { Int32($0 * 131 % 2048) }
        let floats = written.map { _, value in value.tensor }
        #expect(graph.logits(tokens, read.parameters).elements == graph.logits(tokens, floats).elements)
    }

    @Test func `tables that config.json does not name, or names with rounded inputs, are refused`() throws {
        let spec = QuantizerSpec(bits: 8, symmetric: true, granularity: .channel)
        let path = folder.file("model/config.json")
        func refusal(_ change: (inout JSONObject) -> Void) throws -> String? {
            _ = try write(embedding: spec, head: nil, tied: false)
            var config = try HFConfig(path)
            var packing = try #require(config.json["quantization_config"]?.object)
            change(&packing)
            config.json["quantization_config"] = .object(packing)
            try AtomicFile.write(config.text, to: path)
            return #expect(throws: FileError.self) { try CompressedFolder(folder.file("model")) }?.description
        }
        func group(_ targets: JSONValue, _ inputs: JSONValue) -> JSONValue {
            [
                "group_0": [
                    "targets": targets, "input_activations": inputs,
                    "weights": ["num_bits": 8, "type": "int", "symmetric": true, "strategy": "channel"],
                ]
            ]
        }
        // The group of all linears is not the embedding's; its own class and expressions are.
        let unnamed = try refusal { $0["config_groups"] = group(["Linear"], .null) }
        #expect(unnamed?.contains("has no group for model.embed_tokens") == true)
        #expect(unnamed?.contains("or Embedding") == true)
        let rounded = try refusal {
            $0["config_groups"] = group(
                ["model.embed_tokens"],
                ["num_bits": 8, "type": "int", "symmetric": true, "strategy": "token", "dynamic": true])
        }
        #expect(rounded?.contains("quantizes the inputs of model.embed_tokens") == true)
    }

    /// The group of all linears is the head's, too: with what it does to inputs.
    @Test(arguments: [["Linear"], ["Linear", "lm_head"]] as [[JSONValue]])
    func `a head whose inputs are rounded is refused`(_ targets: [JSONValue]) throws {
        let spec = QuantizerSpec(bits: 8, symmetric: true, granularity: .channel)
        _ = try write(embedding: nil, head: spec, tied: false)
        let path = folder.file("model/config.json")
        var config = try HFConfig(path)
        var packing = try #require(config.json["quantization_config"]?.object)
        packing["config_groups"] = [
            "group_0": [
                "targets": .array(targets),
                "weights": ["num_bits": 8, "type": "int", "symmetric": true, "strategy": "channel"],
                "input_activations": ["num_bits": 8, "type": "int", "symmetric": true, "strategy": "token", "dynamic": true],
            ]
        ]
        config.json["quantization_config"] = .object(packing)
        config.json["sq_train"] = nil
        try AtomicFile.write(config.text, to: path)
        let error = #expect(throws: FileError.self) { try CompressedFolder(folder.file("model")) }
        #expect(error?.description.contains("quantizes the inputs of lm_head") == true)
    }

    /// Other programs round no inputs of linears that are floats, and this one rounds those of all.
    @Test func `rounded inputs of some linears alone are neither written for others nor run`() throws {
        let (spec, down) = (QuantizerSpec(bits: 8, symmetric: true, granularity: .channel), "model.layers.3.mlp.down_proj")
        var execution = Execution.plain
        (execution.activationBits, execution.activationSymmetric, execution.activationPerHead) = (8, true, false)
        let packed = parameters.map { name, value -> CompressedValue in
            name == down + ".weight" ? .integer(WeightQuantizer(spec).quantized(value)) : .dense(StoredTensor(value))
        }
        try FolderPacking(integers: [down: spec], execution: execution).write(
            packed, from: source, as: .f32, to: folder.file("model"))
        let opened = try CompressedFolder(folder.file("model"))
        #expect(!opened.isShared && opened.execution == execution)
        // As another program would say it.
        let path = folder.file("model/config.json")
        var config = try HFConfig(path)
        config.json["model_type"] = "llama"
        config.json["sq_train"] = nil
        var packing = try #require(config.json["quantization_config"]?.object)
        packing["quant_method"] = "compressed-tensors"
        packing["config_groups"] = [
            "group_0": [
                "targets": ["Linear"],
                "weights": ["num_bits": 8, "type": "int", "symmetric": true, "strategy": "channel"],
                "input_activations": ["num_bits": 8, "type": "int", "symmetric": true, "strategy": "token", "dynamic": true],
            ]
        ]
        config.json["quantization_config"] = .object(packing)
        try AtomicFile.write(config.text, to: path)
        let error = #expect(throws: FileError.self) { try CompressedFolder(folder.file("model")) }
        #expect(error?.description.contains("otherwise than those of model.layers.0") == true)
    }

    @Test func `factors are read as they were written and run packed`() throws {
        let name = "model.layers.1.mlp.up_proj"
        var random = RandomStream(seed: 5, stream: 1)
        func trits(_ rows: Int, _ columns: Int) -> PackedTernary {
            PackedTernary(Tensor((0..<rows * columns).map { _ in Float(Int(random.next() >> 60) % 3 - 1) }, [rows, columns]))
        }
        let factors = TernaryFactors(
            u: trits(768, 40), s: (0..<40).map { Float($0 + 1) / 100 }, v: trits(40, 256), tolerance: 0.1)
        let packed = parameters.map { parameter, value -> CompressedValue in
            parameter == name + ".weight" ? .ternary(factors) : .dense(StoredTensor(value))
        }
        try FolderPacking(factors: [name: factors]).write(packed, from: source, as: .f32, to: folder.file("model"))
        let opened = try CompressedFolder(folder.file("model"))
        #expect(opened.folder.packed?.weights == [name + ".weight"])
        #expect(!opened.folder.checkpoint.contains(name + ".weight"))
        let read = try CompressedModel(reading: opened).parameters.blocks[3].required("mlp.up_proj.weight")
        #expect(read.tensor.elements == factors.unpacked().elements)
        let x = Tensor((0..<512).map { Float($0 % 13) - 6 }, [2, 256])
        #expect(read.linearOperator?.product(x).elements == factors.apply(x).elements)
        // Factors that belong to other weights.
        try TernaryFile.write(
            [name: factors], to: folder.file("model/ternary.safetensors"),
            origin: .init(targets: [String(repeating: "0", count: 64)]))
        #expect(throws: TernaryError.self) { try CompressedFolder(folder.file("model")) }
    }

    @Test(arguments: [
        (#""version": 1"#, #""version": 2"#, "version"), (#""symmetric": true"#, #""symmetric": true, "scaled": 2"#, "scaled"),
        (#""num_bits": 4"#, #""num_bits": 5"#, "weight_packed"), (#""num_bits": 4"#, #""num_bits": 9"#, "num_bits"),
        (#""strategy": "channel""#, #""strategy": "block""#, "strategy"),
        (#""group_size": null"#, #""group_size": 64"#, "group_size"),
        (#""ignore": ["#, #""ignore": ["model.layers.0.mlp.up_proj", "#, "ignore"),
        (#""ignore": ["#, #""ignore": ["re:.*up_proj$", "#, "ignore"), (#""ignore": ["#, #""ignore": ["Linear", "#, "ignore"),
        (#""ignore": ["#, #""ignore": ["re:.*(up|gate)_proj", "#, "lists re:.*(up|gate)"),
        (#""ignore": ["#, #""ignore": ["re:(?!lm_head)", "#, "character 4: a look ahead"),
        (#""Linear""#, #""re:.*mlp.*_proj$""#, "has no group for model.layers.0.self_attn"),
        (#""block": 768"#, #""block": 256"#, "r4"), (#""format": "pack-quantized""#, #""format": "nvfp4""#, "format"),
        (#""Linear""#, #""Conv2d""#, "targets"), (#""bits": 8"#, #""bits": 11"#, "bits"), (#""r3": null,"#, "", "r3"),
        (
            #""input_activations": null"#,
            #""input_activations": {"num_bits": 4, "type": "int", "symmetric": true, "strategy": "token", "dynamic": true}"#,
            "input_activations"
        ),
    ]) func `a description that does not fit is refused by name`(_ old: String, _ new: String, _ fragment: String) throws {
        var execution = Execution.plain
        (execution.activationBits, execution.r4) = (8, true)
        _ = try write(QuantizerSpec(bits: 4, symmetric: true, granularity: .channel), execution)
        let path = folder.file("model/config.json")
        let text = try String(contentsOfFile: path, encoding: .utf8)
        let changed = text.replacingOccurrences(of: old, with: new)
        try #require(changed != text)
        try changed.write(toFile: path, atomically: true, encoding: .utf8)
        let error = #expect(throws: FileError.self) {
            try CompressedModel(reading: CompressedFolder(folder.file("model")))
        }
        #expect(error?.description.contains(fragment) == true && error?.exitCode == .data)
    }

    @Test func `the group of a layer is that of its name, then of an expression, then of all linear layers`() throws {
        _ = try write(QuantizerSpec(bits: 4, symmetric: true, granularity: .channel))
        let path = folder.file("model/config.json")
        let text = try String(contentsOfFile: path, encoding: .utf8)
        // Read with a group of other bits before the one that fits.
        func read(_ target: String, before own: String) throws {
            let group = #""config_groups": {"#
            let other =
                #""other": {"targets": ["\#(target)"], "weights": {"#
                + #""num_bits": 8, "type": "int", "symmetric": true, "strategy": "channel"}}, "#
            let changed = text.replacingOccurrences(of: #""Linear""#, with: "\"\(own)\"")
                .replacingOccurrences(of: group, with: group + other)
            try #require(changed != text)
            try changed.write(toFile: path, atomically: true, encoding: .utf8)
            _ = try CompressedModel(reading: CompressedFolder(folder.file("model")))
        }
        try read("Linear", before: "re:.*_proj$")
        #expect(throws: FileError.self) { try read("re:.*q_proj", before: "Linear") }
        // Of two expressions the first by its text, wherever its group is; of one text twice the last group.
        try read("re:.*proj", before: "re:.*_proj$")
        #expect(throws: FileError.self) { try read("re:.*_p", before: "re:.*_proj$") }
        try read("Linear", before: "Linear")
        #expect(throws: FileError.self) { try read("model.layers.0.mlp.up_proj", before: "re:.*_proj$") }
    }
}
