internal import Collectives
internal import HuggingFace
internal import Models
internal import Parallelism
internal import TensorCore

extension LanguageModelInputs {
    /// Writes `model/` in the run folder: a stage's parameters from each rank of the first replica, its shard. Collective.
    func write(_ parameters: Parameters<some TensorValue>, _ context: JobContext<some Communicator>) throws {
        let (groups, world) = (context.groups, context.communicator)
        let path = context.folder.file("model")
        guard groups.dims.pipeline > 1 else {
            try world.agree { if world.isRoot { try folder.write(parameters, as: .f32, to: path) } }
            return
        }
        let writer = ModelFolderWriter(from: folder, as: .f32, stages: stages, to: path)
        let opened = try world.agree { world.isRoot ? try writer.open() : nil }
        try world.agree { if groups.replica == 0 { try writer.write(parameters, stage: groups.stage) } }
        // Whether the embedding is the head too, the last stage knows.
        let tied = try groups.pipeline.broadcast(Int64(parameters.isLast && parameters.tiesHead ? 1 : 0), root: groups.dims.pipeline - 1)
        try world.agree { if let opened { try writer.commit(opened, tied: tied == 1) } }
    }
}
