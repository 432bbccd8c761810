internal import Collectives
internal import Compression
internal import Configuration
internal import Generation
internal import Models
internal import Parallelism
internal import Planning

/// A model's folder, and the blocks that each rank runs.
struct StagedFolder {
    let folder: CompressedFolder
    let stages: [Range<Int>]

    /// Checks the folder; no weight is read yet. Collective.
    ///
    /// - Throws: ``ConfigurationError`` where there are too many ranks for the model, or where the folder does not support
    ///   integer products.
    init(_ config: RunConfig, _ dims: ParallelDims, _ world: some Communicator) throws {
        let model = try ModelSource.folder(config.model.path, world)
        (folder, stages) = try world.agree {
            let folder = try CompressedFolder(model)
            guard config.eval.product == .float || folder.folder.packed != nil else {
                throw ConfigurationError(
                    "eval.product", "integer is for a compressed model; \(folder.folder.path) holds floats")
            }
            return (folder, try config.stages("generate", dims, folder.folder.architecture))
        }
    }

    var shape: Architecture { folder.folder.architecture }

    /// Reads this rank's stage. Collective.
    func model(_ config: RunConfig, positions: Int, _ world: some Communicator) throws -> RunnableModel {
        try world.agree {
            try RunnableModel(
                folder, product: config.eval.product, cacheBits: config.generate.cacheBits, positions: positions,
                stage: stages[world.rank])
        }
    }
}
