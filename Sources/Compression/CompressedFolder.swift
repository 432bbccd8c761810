package import HuggingFace
internal import LinearAlgebra
package import Models
package import Quantization
internal import Support
internal import TensorCore
package import TernarySVD

/// A Hugging Face folder whose linears, embedding and head may be packed: a folder of `ptq`, `qat`, `rotate` or `quantize`, of
/// another program in the format of compressed-tensors, or of NanoQuant. `model.path` accepts all of these.
package struct CompressedFolder: Sendable {
    /// The file of factors, beside the checkpoint.
    package static let factorFileName = "ternary.safetensors"

    package let folder: ModelFolder
    package let execution: Execution
    /// Whether other programs can run the folder.
    package let isShared: Bool

    /// Checks the folder; no weight is read yet.
    ///
    /// - Throws: as `ModelFolder/init(_:packed:)`; `TernaryError`.
    package init(_ path: String) throws {
        var (own, said, isOwn): (HFConfig?, Execution?, Bool) = (nil, nil, false)
        let folder = try ModelFolder(path) { checkpoint, config, architecture in
            own = try config.object(PackedModelType.key)
            let weights = try CompressedWeights(checkpoint, config, architecture)
            (said, isOwn) = (weights?.execution, weights?.isOwn ?? false)
            return try weights ?? BinaryFactors(checkpoint, config, architecture)
        }
        self.folder = folder
        execution = try own.map { try Execution($0, folder.architecture) } ?? said ?? .plain
        isShared =
            own?.has("model_type") != true && !(folder.packed is BinaryFactors) && execution.activationRange == .full
        // Folders from before there were two symmetric ranges run as they were scored, with the restricted range, not the one
        // that other programs use.
        if let own, !isOwn, own.json["activations"]?["symmetric_range"] == nil {
            said?.activationRange = execution.activationRange
        }
        let factors = CompressedWeights.factorFile(path)
        guard folder.packed?.ternary.isEmpty == false || PathKind(factors) == .absent else {
            throw FileError(
                .malformed, factors,
                "is beside weights that config.json does not declare as ternary factors; remove the file, or give the "
                    + "folder that it belongs to")
        }
        // Where other programs run the folder, both descriptions have to agree.
        if own != nil, let said, said != (isOwn ? .plain : execution) {
            throw FileError(
                .malformed, "\(path)/config.json: \(WeightPacking.key)",
                "has other input_activations than \(PackedModelType.key); make them the same")
        }
    }

    /// Whether a folder's linears are another program's binary factors, for which this program has no file format.
    package static func isBinary(_ folder: ModelFolder) -> Bool { folder.packed is BinaryFactors }

    /// Whether the names of a folder's files already show that its linears are packed.
    package static func isPacked(_ path: String, _ config: HFConfig) -> Bool {
        config.has(PackedModelType.key) || BinaryFactors.isThere(path)
    }

    /// What the network of a compressed folder does to activations; nil where the folder is not compressed, or does not exist.
    ///
    /// - Throws: `FileError`, `TernaryError`.
    package static func execution(of path: String?) throws -> Execution? {
        guard let path, PathKind(path + "/config.json") != .absent else { return nil }
        let config = try HFConfig(path + "/config.json")
        guard config.has(PackedModelType.key) || config.has(WeightPacking.key) || BinaryFactors.isThere(path) else {
            return nil
        }
        let opened = try CompressedFolder(path)
        return opened.isPlain ? nil : opened.execution
    }

    /// Whether nothing is packed and activations are left alone.
    package var isPlain: Bool { folder.packed == nil && execution == .plain }
}

// MARK: - Writing

/// The description in a compressed folder's config.json of its weights and of how they run.
package struct FolderPacking: Sendable {
    /// By the linear's name, of the whole model.
    package var integers: [String: QuantizerSpec]
    /// The embedding's quantizer; nil where it is floats.
    package var embedding: QuantizerSpec?
    /// The head's quantizer; nil where it is floats. It is not described where the embedding serves as head.
    package var head: QuantizerSpec?
    /// Factors of the whole model, on the rank that writes the folder's description.
    package var factors: [String: TernaryFactors]
    package var origin: TernaryFile.Origin
    package var execution: Execution
    /// Whether all integers fit compressed-tensors, see `IntegerTensors/isPortable(_:)`.
    package var isPortable: Bool

    package init(
        integers: [String: QuantizerSpec] = [:], embedding: QuantizerSpec? = nil, head: QuantizerSpec? = nil,
        factors: [String: TernaryFactors] = [:], origin: TernaryFile.Origin = .init(), execution: Execution = .plain,
        isPortable: Bool = true
    ) {
        (self.integers, self.factors, self.origin) = (integers, factors, origin)
        (self.embedding, self.head) = (embedding, head)
        (self.execution, self.isPortable) = (execution, isPortable)
    }

    /// Whether other programs can run the folder: it has integers that they read, and activations that are left alone or, where
    /// all linears have 8 bits, rounded by token. Other programs do not round the inputs of float linears, they would multiply
    /// by the codes of a tied head, and they round all tokens that a family joins in one range.
    func isShared(_ architecture: Architecture, tied: Bool) -> Bool {
        guard factors.isEmpty, isPortable else { return false }
        if execution.activationBits < 16, architecture.joinsSequences { return false }
        if let embedding, tied || layout(ofEmbedding: embedding) != .bytes { return false }
        guard layout == .bytes, architecture.linears.allSatisfy({ integers[$0.name] != nil }) else {
            return execution == .plain
        }
        var inputs = Execution.plain
        (inputs.activationBits, inputs.activationSymmetric) = (execution.activationBits, execution.activationSymmetric)
        inputs.activationPerHead = false
        return execution == inputs
    }

    /// The layout of the linears: a byte for each integer where all have 8 bits and inputs are quantized, since other programs
    /// read such folders only in that layout. The head is packed.
    package var layout: WeightPacking.Layout {
        execution.activationBits < 16 && !integers.isEmpty && integers.values.allSatisfy { $0.bits == 8 } ? .bytes : .packed
    }

    /// transformers looks for a tensor with the embedding's own name, which the layout of bytes has.
    func layout(ofEmbedding spec: QuantizerSpec) -> WeightPacking.Layout { spec.bits == 8 ? .bytes : .packed }

    /// The tensors that the checkpoint holds for a parameter; factors are in another file.
    package func sources(
        _ name: String, _ value: CompressedValue, as type: ElementType, _ architecture: Architecture
    ) -> [TensorSource] {
        switch value {
        case .dense(let stored): return [TensorSource(name, type, stored.shape) { .floats(stored.tensor) }]
        case .ternary: return []
        case .integer(let weight):
            let layout =
                name == architecture.embedding?.name
                ? layout(ofEmbedding: weight.spec) : name == architecture.head.name ? .packed : layout
            return IntegerTensors.sources(String(name.dropLast(".weight".count)), weight, layout)
        }
    }

    /// Members of config.json for a folder made from `source`.
    ///
    /// - Parameter tied: whether the embedding serves as head.
    private func members(_ source: ModelFolder, tied: Bool) -> JSONObject {
        let architecture = source.architecture
        let isShared = isShared(architecture, tied: tied)
        let packing = WeightPacking.Written(
            linears: integers, layout: layout, embedding: embedding.map { ($0, layout(ofEmbedding: $0)) },
            head: tied ? nil : head, hasFactors: !factors.isEmpty, isShared: isShared)
        // A folder of floats needs no description.
        guard execution != .plain || !packing.isEmpty else { return JSONObject() }
        var (result, own) = (JSONObject(), execution.json(architecture))
        if !isShared {
            own["model_type"] = source.config.json["model_type"]
            result["model_type"] = .string(PackedModelType.name)
        }
        result[PackedModelType.key] = .object(own)
        if !packing.isEmpty { result[WeightPacking.key] = packing.json(execution, architecture) }
        return result
    }

    private func writeFactors(_ writer: HFFolderWriter) throws {
        guard !factors.isEmpty else { return }
        var origin = origin
        origin.targets.append(try Checkpoint(writer.temporaryPath).digest())
        try TernaryFile.write(factors, to: writer.file(CompressedFolder.factorFileName), origin: origin)
    }

    /// Writes the whole folder, on one rank.
    package func write(
        _ parameters: Parameters<CompressedValue>, from source: ModelFolder, as type: ElementType, to folder: String
    ) throws {
        let writer = try HFFolderWriter(folder)
        let sources = parameters.named.flatMap { self.sources($0.name, $0.value, as: type, source.architecture) }
        try Checkpoint.write(sources, to: writer.temporaryPath)
        try writeFactors(writer)
        let tied = parameters.tiesHead
        try source.finish(writer, as: type, tied: tied, more: members(source, tied: tied))
    }

    /// Completes the folder that ``ModelFolderWriter`` began, on the rank that opened it.
    package func commit(_ writer: ModelFolderWriter, _ opened: HFFolderWriter, tied: Bool) throws {
        try writer.writeIndex(opened)
        try writeFactors(opened)
        try writer.commit(opened, tied: tied) { members($0, tied: tied) }
    }
}
