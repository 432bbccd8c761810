internal import Collectives
internal import Configuration
internal import HuggingFace
internal import Models
internal import Parallelism
internal import Runs
internal import Support
internal import TensorCore

extension ElementType {
    /// Of the types that weights are written in.
    var name: String {
        switch self {
        case .bf16: "bfloat16"
        case .f16: "float16"
        default: "float32"
        }
    }
}

extension Tensor {
    /// The values that a file of this type would hold.
    func rounded(to type: ElementType) -> Tensor {
        switch type {
        case .bf16: StoredTensor(roundingToBFloat16: self).tensor
        case .f16: withElements { x in Tensor(x.indices.map { Float(Float16(x[$0])) }, shape) }
        default: self
        }
    }
}

extension LanguageModelInputs {
    /// The type that `model/` is written in.
    ///
    /// - Parameter onGrid: weights are multiples of scales, which bfloat16 would round.
    func writtenType(_ config: RunConfig, onGrid: Bool = false) throws(HuggingFaceError) -> ElementType {
        switch config.model.dtype {
        case .f32: .f32
        case .bf16: .bf16
        case .input: onGrid ? .f32 : try folder.elementType
        }
    }

    /// Writes `model/` in the run folder: a stage's parameters from each rank of the first replica, its shard. Collective.
    ///
    /// - Parameter description: what the weights are, for the line that says where and how large they are.
    /// - Returns: bytes of the weights written, on rank 0.
    @discardableResult
    func write(
        _ parameters: Parameters<some TensorValue>, as type: ElementType, _ description: String,
        _ context: JobContext<some Communicator>
    ) throws -> Int {
        try write(parameters, as: type, context)
        let path = context.folder.file("model")
        var bytes = 0
        try context.communicator.agree {
            guard context.communicator.isRoot else { return }
            let written = try Checkpoint(path)
            bytes = try written.names.reduce(0) { $0 + (try written.info($1).byteRange.count) }
        }
        context.reporter.note("\n\(path): \(Self.megabytes(bytes)), \(type.name), \(description)")
        return bytes
    }

    private static func megabytes(_ bytes: Int) -> String {
        "\((Double(bytes) / 1e6).formatted(decimals: bytes < 100_000_000 ? 1 : 0)) MB"
    }

    private func write(
        _ parameters: Parameters<some TensorValue>, as type: ElementType, _ context: JobContext<some Communicator>
    ) throws {
        let (groups, world) = (context.groups, context.communicator)
        let path = context.folder.file("model")
        guard groups.dims.pipeline > 1 else {
            try world.agree { if world.isRoot { try folder.write(parameters, as: type, to: path) } }
            return
        }
        let writer = ModelFolderWriter(from: folder, as: type, stages: stages, to: path)
        let opened = try world.agree { world.isRoot ? try writer.open() : nil }
        try world.agree { if groups.replica == 0 { try writer.write(parameters, stage: groups.stage) } }
        // Whether the embedding is the head too, the last stage knows.
        let tied = try groups.pipeline.broadcast(
            Int64(parameters.isLast && parameters.tiesHead ? 1 : 0), root: groups.dims.pipeline - 1)
        try world.agree { if let opened { try writer.commit(opened, tied: tied == 1) } }
    }
}
