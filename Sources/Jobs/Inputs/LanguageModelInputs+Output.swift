internal import Collectives
internal import Compression
internal import Configuration
internal import HuggingFace
internal import Models
internal import Parallelism
internal import Rotation
internal import Runs
internal import Support
internal import TensorCore

extension Tensor {
    /// The values as a file of this type would hold them.
    func rounded(to type: ElementType) -> Tensor {
        switch type {
        case .bf16: StoredTensor(roundingToBFloat16: self).tensor
        case .f16: withElements { x in Tensor(x.indices.map { Float(Float16(x[$0])) }, shape) }
        default: self
        }
    }
}

extension JobContext {
    /// The `model/` that this run has written.
    func writtenModel() throws -> CompressedFolder { try CompressedFolder(folder.file(RunFiles.model)) }

    /// The size of the weights in the `model/` that this run has written. Collective.
    func writtenSize() throws -> ModelSize { try communicator.agree { try ModelSizes(writtenModel().folder).stored } }
}

extension LanguageModelInputs {
    /// The type of the floats in `model/`.
    func writtenType(_ config: RunConfig) throws(FileError) -> ElementType {
        switch config.model.dtype {
        case .f32: .f32
        case .bf16: .bf16
        case .input: try folder.elementType
        }
    }

    /// A parameter as `model/` would hold it.
    ///
    /// - Throws: `FileError` where the type cannot hold a number.
    func asWritten(
        _ tensor: Tensor, named name: String, as type: ElementType, _ context: JobContext<some Communicator>
    ) throws(FileError) -> Tensor {
        try SafetensorsFile.checkRange(of: tensor, as: type, named: name, in: context.folder.file(RunFiles.model))
        return tensor.rounded(to: type)
    }

    /// Writes `model/` in the run folder. Each rank of the first replica writes its stage's parameters as a shard. Collective.
    ///
    /// - Parameters:
    ///   - packing: the description of the folder's packed linears; nil where all are floats.
    ///   - description: a description of the weights, for the line that states their place and size.
    /// - Returns: bytes of the weights written, on rank 0.
    @discardableResult
    func write(
        _ parameters: Parameters<CompressedValue>, _ packing: FolderPacking? = nil, as type: ElementType, _ description: String,
        _ context: JobContext<some Communicator>
    ) throws -> Int {
        let path = context.folder.file(RunFiles.model)
        try Trace.span(.writeModel) {
            try write(parameters, packing ?? FolderPacking(), as: type, to: path, context)
            if let packing, context.config.model.dense {
                var floats = parameters.map { _, value in StoredTensor(value.tensor) }
                // Other programs transform nothing online, so R4 is removed. R3 is in no weight.
                if let r4 = packing.execution.hooks(folder.architecture).r4 { floats = floats.unrotatedDown(by: r4) }
                try write(floats.dense, FolderPacking(), as: type, to: context.folder.file(RunFiles.dense), context)
            }
        }
        var bytes = 0
        try context.communicator.agree {
            guard context.communicator.isRoot else { return }
            bytes = try ModelSizes(CompressedFolder(path).folder).stored.bytes
        }
        context.reporter.note("\n\(path): \(Self.megabytes(bytes)), \(type.frameworkName), \(description)")
        return bytes
    }

    /// This rank's stage of `model/`.
    func readBack(_ context: JobContext<some Communicator>) throws -> CompressedModel {
        try Trace.span(.readModel) {
            try context.communicator.agree {
                try CompressedModel(
                    reading: context.writtenModel(), stage: stages[context.groups.stage],
                    storage: context.config.model.storage == .file ? .file : .f32)
            }
        }
    }

    private static func megabytes(_ bytes: Int) -> String {
        "\((Double(bytes) / 1e6).formatted(decimals: bytes < 100_000_000 ? 1 : 0)) MB"
    }

    private func write(
        _ parameters: Parameters<CompressedValue>, _ packing: FolderPacking, as type: ElementType, to path: String,
        _ context: JobContext<some Communicator>
    ) throws {
        let (groups, world) = (context.groups, context.communicator)
        guard groups.dims.pipeline > 1 else {
            try world.agree { if world.isRoot { try packing.write(parameters, from: folder, as: type, to: path) } }
            return
        }
        let writer = ModelFolderWriter(from: folder, as: type, stages: stages, to: path)
        let opened = try world.agree { world.isRoot ? try writer.open() : nil }
        try world.agree {
            guard groups.replica == 0 else { return }
            try writer.write(parameters, stage: groups.stage) { name, value in
                packing.sources(name, value, as: type, folder.architecture)
            }
        }
        // Only the last stage knows whether the embedding is also the head.
        let tied = try groups.pipeline.broadcast(
            Int64(parameters.isLast && parameters.tiesHead ? 1 : 0), root: groups.dims.pipeline - 1)
        try world.agree { if let opened { try packing.commit(writer, opened, tied: tied == 1) } }
    }
}
