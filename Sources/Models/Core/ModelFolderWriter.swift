package import HuggingFace
package import Support
internal import TensorCore

/// A model folder that several ranks write, each its stage's shard.
///
/// One rank opens it, which makes the temporary folder; then every stage writes its shard; then the first rank commits. Between
/// these the ranks must agree that all went well.
package struct ModelFolderWriter {
    private let source: ModelFolder
    private let type: ElementType
    private let stages: [Range<Int>]
    private let folder: String

    /// - Parameters:
    ///   - source: where configuration and tokenizer come from.
    ///   - stages: the blocks of every stage, in order.
    ///   - folder: replaced as a whole by ``commit(_:tied:)``.
    package init(from source: ModelFolder, as type: ElementType, stages: [Range<Int>], to folder: String) {
        self.source = source
        self.type = type
        self.stages = stages
        self.folder = folder
    }

    /// Makes the temporary folder, on one rank.
    package func open() throws(FileError) -> HFFolderWriter { try HFFolderWriter(folder) }

    /// Writes the shard of one stage. A tied embedding, which the last stage holds too, is written by the first.
    ///
    /// - Parameter sources: the tensors that a parameter is kept in.
    package func write<Value>(
        _ parameters: Parameters<Value>, stage: Int, sources: (_ name: String, Value) -> [TensorSource]
    ) throws {
        let table = source.architecture.embedding?.name
        let written = parameters.named.filter { parameters.isFirst || $0.name != table }
        try Checkpoint.writeShard(
            written.flatMap { sources($0.name, $0.value) }, stage, of: stages.count,
            to: HFFolderWriter.temporaryPath(of: folder))
    }

    /// Writes the index of the shards, on the rank that opened the folder; they are then a checkpoint.
    package func writeIndex(_ writer: HFFolderWriter) throws {
        try Checkpoint.writeIndex(ofShards: stages.count, in: writer.temporaryPath)
    }

    /// Writes what else belongs to the folder, on the rank that opened it, and gives the folder its name.
    ///
    /// - Parameters:
    ///   - tied: whether the embedding written serves as head too.
    ///   - more: members of config.json that say how the weights are packed.
    package func commit(
        _ writer: HFFolderWriter, tied: Bool, more: (_ source: ModelFolder) -> JSONObject
    ) throws {
        try source.finish(writer, as: type, tied: tied, more: more(source))
    }
}
