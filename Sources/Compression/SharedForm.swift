package import HuggingFace
internal import LinearAlgebra
package import Models
internal import Rotation
internal import Support
internal import TensorCore

/// The description of a compressed folder for other programs, in the format of compressed-tensors: `quantization_config`, with
/// `transform_config` where the input of the down projections is rotated at run time (R4).
package struct SharedForm {
    /// config.json.
    package let config: HFConfig
    /// Names of the folder's tensors that belong to it.
    package let tensors: [String]
    /// Tensors to be written beside them: the matrix of R4 where other programs cannot make it.
    package let matrices: [TensorSource]
    /// What is done at run time, as it is read back.
    package let execution: Execution
}

extension SharedForm {
    /// The scheme's name, which is part of the matrix's name.
    private static let scheme = "R4"
    /// compressed-tensors makes matrices of a power of two, times one of its own matrices of this order or less.
    private static let largestFactor = 256

    /// Why compressed-tensors cannot describe a folder, and what works; nil where it can.
    ///
    /// - Parameter rotates: whether `transform_config` may be used.
    /// - Throws: `FileError`.
    package static func obstacle(_ opened: CompressedFolder, rotates: Bool) throws -> String? {
        let (execution, architecture) = (opened.execution, opened.folder.architecture)
        if let packed = opened.folder.packed, !packed.ternary.isEmpty {
            return "\(packed.form) are not integers; --format onnx writes ternary factors, --format huggingface floats"
        }
        let packed = opened.folder.packed as? CompressedWeights
        return try packed?.obstacle(architecture, execution) ?? obstacle(execution, architecture, rotates: rotates)
    }

    /// The format of compressed-tensors that can hold a folder's network; nil where there is none.
    ///
    /// - Parameter isPadded: whether zero points have the number of rows that transformers allocates.
    /// - Throws: `FileError`.
    package static func format(of opened: CompressedFolder, isPadded: Bool) throws -> ExportFormat? {
        let rotates = opened.execution.r4
        guard opened.folder.packed != nil, try obstacle(opened, rotates: rotates) == nil else { return nil }
        return .compressedTensors(rotates: rotates, isPadded: isPadded)
    }

    /// An embedding in integers.
    package struct Embedding: Sendable {
        let bits: Int
        /// Whether codes are packed into words; otherwise they are bytes.
        let isPacked: Bool
        let isHead: Bool

        init(bits: Int, isPacked: Bool, isHead: Bool) { (self.bits, self.isPacked, self.isHead) = (bits, isPacked, isHead) }

        /// As this program writes one.
        package init(bits: Int, isHead: Bool) { self.init(bits: bits, isPacked: bits != 8, isHead: isHead) }
    }

    /// Why compressed-tensors cannot describe what is rounded and what is not, and what works; nil where it can.
    ///
    /// - Parameters:
    ///   - embedding: nil where it is floats.
    ///   - float: a linear whose weight is floats; nil where there is none.
    package static func obstacle(_ embedding: Embedding?, float: String?, _ execution: Execution) -> String? {
        if let embedding, embedding.isHead {
            return "the embedding is integers and serves as head, and other programs would use its codes as weights; "
                + "--format huggingface writes floats, quantization.embedding_bits=16 and head_bits=16 leave it alone"
        }
        if let embedding, embedding.isPacked {
            return "the embedding is packed in \(embedding.bits) bits, and others look it up as bytes; quantize with "
                + "quantization.embedding_bits=8"
        }
        guard execution.activationBits < 16, let float else { return nil }
        return "the input of \(float) is rounded and its weight is not, which other programs do not support; "
            + "quantize all linears, or with quantization.activations.bits=16"
    }

    /// Why compressed-tensors cannot describe what is done at run time, and what works; nil where it can.
    package static func obstacle(_ execution: Execution, _ architecture: Architecture, rotates: Bool) -> String? {
        if execution.keyBits < 16 || execution.valueBits < 16 || execution.r3 {
            return "keys and values are rounded, or rotated (R3); transformers 5.24 with compressed-tensors 0.20 rounds no "
                + "cache in integers, and rotates queries without their keys; quantize with quantization.kv.bits=16"
        }
        if execution.activationBits < 16, architecture.joinsSequences {
            return "inputs are rounded with a range for each token, and transformers gives the feed-forward networks of "
                + "\(architecture.type) all tokens in one, for which compressed-tensors takes one range; quantize with "
                + "quantization.activations.bits=16"
        }
        if execution.activationBits < 16, execution.activationPerHead {
            return "inputs of the output projections are rounded with a range for each head, others' with one for the token; "
                + "quantize with quantization.activations.head_ranges=false"
        }
        guard execution.activationRange == .full else {
            return "inputs are rounded in symmetric ranges of \((1 << execution.activationBits) - 2) steps, which are "
                + "\((1 << execution.activationBits) - 1) there; quantize with quantization.activations.symmetric_range=full"
        }
        guard execution.clipRatios == .none else {
            return "inputs are rounded in ranges scaled by clip ratios, but other programs take each token's full range; "
                + "quantize with quantization.clip_ratios=none, or weights alone with quantization.activations.bits=16"
        }
        guard execution.r4 else { return nil }
        guard rotates else {
            return "the input of the down projections is rotated at run time (R4), which transformers would ignore silently; "
                + "--format compressed-tensors-transforms writes it as transform_config, rotation.r4=none needs none"
        }
        let order = HadamardTransform(columns: architecture.downWidth).block.order
        let odd = order / (order & -order)
        guard 4 * odd <= largestFactor || odd == 1 else {
            return "compressed-tensors makes no Hadamard matrix of order \(order), that of R4; quantize with rotation.r4=none"
        }
        return nil
    }

    /// - Precondition: there is no ``obstacle(_:rotates:)``.
    /// - Throws: `FileError`.
    package init(_ opened: CompressedFolder) throws {
        let (folder, source) = (opened.folder, opened.execution)
        var config = try HFConfig(folder.path + "/config.json")
        if let type = config.json[PackedModelType.key]?["model_type"] { config.json["model_type"] = type }
        config.json[PackedModelType.key] = nil
        var execution = Execution.plain
        if source.activationBits < 16 {
            (execution.activationBits, execution.activationSymmetric) = (source.activationBits, source.activationSymmetric)
            execution.activationPerHead = false
        }
        execution.r4 = source.r4
        let keys = try config.required(WeightPacking.key)
        var packing = keys.json
        packing["quant_method"] = .string(WeightPacking.sharedMethod)
        packing["config_groups"] = .object(try Self.groups(keys, folder.architecture, execution))
        packing[OnlineTransforms.key] = nil
        let stored = (folder.packed as? CompressedWeights)?.transformTensors ?? []
        tensors = folder.checkpoint.names.filter { !stored.contains($0) }
        matrices = source.r4 ? Self.matrices(folder.architecture) : []
        if source.r4 { packing[OnlineTransforms.key] = Self.transforms(folder.architecture) }
        config.json[WeightPacking.key] = .object(packing)
        (self.config, self.execution) = (config, execution)
    }

    /// The groups of linears, with what is done to their inputs. Each group states its layout, since compressed-tensors assumes
    /// bytes where inputs are rounded.
    private static func groups(
        _ keys: HFConfig, _ architecture: Architecture, _ execution: Execution
    ) throws(FileError) -> JSONObject {
        let (groups, tables) = (try keys.required("config_groups"), Set(architecture.tables.map(\.name)))
        var result = JSONObject()
        for name in groups.json.keys {
            let group = try groups.required(name)
            var described = group.json
            if described["format"] == nil || described["format"] == .null { described["format"] = keys.json["format"] }
            if execution.activationBits < 16, try !group.strings("targets").allSatisfy(tables.contains) {
                described["input_activations"] = execution.inputs
            }
            result[name] = .object(described)
        }
        return result
    }

    /// `transform_config`.
    private static func transforms(_ architecture: Architecture) -> JSONValue {
        let transform = HadamardTransform(columns: architecture.downWidth)
        let matrix = transform.block.factor == 1 ? OnlineTransforms.Matrix.hadamard : .stored
        return [
            "config_groups": [
                scheme: [
                    "type": .string(matrix.rawValue),
                    "apply": [
                        [
                            "targets": .array(architecture.downTargets.map(JSONValue.string)),
                            "location": .string(OnlineTransforms.input), "inverse": false, "ignore": [],
                        ]
                    ],
                    "randomize": false, "requires_grad": false,
                    "head_dim": transform.isBlockDiagonal ? .integer(transform.block.order) : .null,
                    "precision": "torch.float32",
                ]
            ]
        ]
    }

    /// The matrix is stored with the first module, since all modules have the same one; bfloat16 holds ±1.
    private static func matrices(_ architecture: Architecture) -> [TensorSource] {
        let block = HadamardTransform(columns: architecture.downWidth).block
        guard block.factor > 1, let module = architecture.downProjections.first else { return [] }
        let matrix = SignMatrix(order: block.order)
        return [
            TensorSource(OnlineTransforms.tensor(of: module, scheme), .bf16, [block.order, block.order]) {
                var bytes: [UInt8] = []
                bytes.reserveCapacity(2 * block.order * block.order)
                for rows in matrix.parts {
                    matrix.signs(rows).withElements { for sign in $0 { bytes += [0x80, sign < 0 ? 0xBF : 0x3F] } }
                }
                return .bytes(bytes)
            }
        ]
    }
}

extension Execution {
    /// `input_activations` of compressed-tensors. - Precondition: one range for a token.
    var inputs: JSONValue {
        [
            "num_bits": .integer(activationBits), "type": "int", "symmetric": .bool(activationSymmetric),
            "strategy": "token", "dynamic": true,
        ]
    }
}

extension Architecture {
    /// Patterns for the down projections in compressed-tensors: the ending of their names where no other layer has the same
    /// ending.
    fileprivate var downTargets: [String] {
        let names = downProjections
        guard let last = names.first?.split(separator: ".").last else { return names }
        let text = "re:.*\(last)$"
        guard let target = try? LayerTarget(text) else { return names }
        return Set(modules.filter { target.matches($0.key, $0.value) }.keys) == Set(names) ? [text] : names
    }
}
