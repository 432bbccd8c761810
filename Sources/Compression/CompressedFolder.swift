package import HuggingFace
package import Models
package import Quantization
package import TensorCore
package import TernarySVD

/// A Hugging Face folder whose linears may be packed: what `ptq`, `qat` and `rotate` leave, and `model.path` takes.
package struct CompressedFolder: Sendable {
    /// Of factors, beside the checkpoint.
    package static let factorFileName = "ternary.safetensors"
    static let executionKey = "sq_train"

    package let folder: ModelFolder
    package let execution: Execution

    /// Checks the folder; no weight is read yet.
    ///
    /// - Throws: as ``ModelFolder/init(_:packed:)``; ``TernaryError``.
    package init(_ path: String) throws {
        var own: HFConfig?
        let folder = try ModelFolder(path) { checkpoint, config, architecture in
            own = try config.object(Self.executionKey)
            return try CompressedWeights(checkpoint, config, architecture)
        }
        self.folder = folder
        execution = try own.map { try Execution($0, folder.architecture) } ?? .plain
    }

    /// What config.json says the network does to activations; nil where it says nothing, or is not there.
    ///
    /// - Throws: ``HuggingFaceError``, ``TernaryError``.
    package static func execution(of path: String?) throws -> Execution? {
        guard let path, PathKind(path + "/config.json") != .absent, try HFConfig(path + "/config.json").has(executionKey) else {
            return nil
        }
        return try CompressedFolder(path).execution
    }

    /// Whether nothing is packed and nothing done to activations.
    package var isPlain: Bool { folder.packed == nil && execution == .plain }
}

// MARK: - Writing

/// What a compressed folder says of its weights and of how it runs, in config.json.
package struct FolderPacking: Sendable {
    /// By the linear's name, of the whole model.
    package var integers: [String: QuantizerSpec]
    /// Of the whole model, on the rank that writes the folder's description.
    package var factors: [String: TernaryFactors]
    package var origin: TernaryFile.Origin
    package var execution: Execution
    /// Whether all integers fit compressed-tensors, see ``IntegerTensors/isPortable(_:)``.
    package var isPortable: Bool

    package init(
        integers: [String: QuantizerSpec] = [:], factors: [String: TernaryFactors] = [:],
        origin: TernaryFile.Origin = .init(), execution: Execution = .plain, isPortable: Bool = true
    ) {
        (self.integers, self.factors, self.origin) = (integers, factors, origin)
        (self.execution, self.isPortable) = (execution, isPortable)
    }

    /// Members of config.json.
    func members(_ architecture: Architecture) -> JSONObject {
        var result = JSONObject()
        result[CompressedFolder.executionKey] = execution.json(architecture)
        let isShared = factors.isEmpty && execution == .plain && isPortable
        if !integers.isEmpty || !factors.isEmpty {
            result[WeightPacking.key] = WeightPacking.json(
                integers, hasFactors: !factors.isEmpty, isShared: isShared, architecture)
        }
        return result
    }

    private func writeFactors(_ writer: HFFolderWriter) throws {
        guard !factors.isEmpty else { return }
        try TernaryFile.write(factors, to: writer.file(CompressedFolder.factorFileName), origin: origin)
    }

    /// Writes the whole folder, on one rank.
    package func write(
        _ parameters: Parameters<CompressedValue>, from source: ModelFolder, as type: ElementType, to folder: String
    ) throws {
        let writer = try HFFolderWriter(folder)
        try Checkpoint.write(parameters.sources(as: type), to: writer.temporaryPath)
        try writeFactors(writer)
        try source.finish(writer, as: type, tied: parameters.tiesHead, more: members(source.architecture))
    }

    /// Ends what ``ModelFolderWriter`` began, on the rank that opened it.
    package func commit(_ writer: ModelFolderWriter, _ opened: HFFolderWriter, tied: Bool) throws {
        try writeFactors(opened)
        try writer.commit(opened, tied: tied, more: members)
    }
}

extension Parameters where Value == CompressedValue {
    /// What the checkpoint holds of these parameters; factors have a file of their own.
    package func sources(as type: ElementType) -> [TensorSource] { named.flatMap { $0.value.sources($0.name, as: type) } }
}

extension CompressedValue {
    /// - Parameter name: of the parameter.
    package func sources(_ name: String, as type: ElementType) -> [TensorSource] {
        switch self {
        case .dense(let stored): [TensorSource(name, type, stored.shape) { .floats(stored.tensor) }]
        case .integer(let weight): IntegerTensors.sources(String(name.dropLast(".weight".count)), weight)
        case .ternary: []
        }
    }
}
