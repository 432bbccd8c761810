package import HuggingFace
package import TensorCore

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
    ///   - stages: the layers of every stage, in order.
    ///   - folder: replaced as a whole by ``commit(_:tied:)``.
    package init(from source: ModelFolder, as type: ElementType, stages: [Range<Int>], to folder: String) {
        self.source = source
        self.type = type
        self.stages = stages
        self.folder = folder
    }

    /// Makes the temporary folder, on one rank.
    package func open() throws(HuggingFaceError) -> HFFolderWriter { try HFFolderWriter(folder) }

    /// Writes the shard of one stage. A tied embedding, which the last stage holds too, is written by the first.
    package func write(_ parameters: Parameters<some TensorValue>, stage: Int) throws {
        let sources = written(parameters)
        try Checkpoint.writeShard(
            sources.map { $0.value.source(named: $0.name, as: type) }, stage, of: stages.count,
            to: HFFolderWriter.temporaryPath(of: folder))
    }

    /// Writes the index and what else belongs to the folder, on the rank that opened it, and gives the folder its name.
    ///
    /// - Parameter tied: whether the embedding written serves as head too.
    package func commit(_ writer: HFFolderWriter, tied: Bool) throws {
        let shards = stages.map { stage in
            written(source.architecture.parameters(stage, tied: tied))
        }
        let bytes = shards.joined().reduce(0) { $0 + $1.value.count * type.size }
        try Checkpoint.writeIndex(shards.map { $0.map(\.name) }, totalSize: bytes, to: writer.temporaryPath)
        try source.finish(writer, as: type, tied: tied)
    }

    /// A stage's parameters, less the copy of a tied embedding that serves as head: the first stage writes it.
    private func written<Value>(_ parameters: Parameters<Value>) -> [(name: String, value: Value)] {
        let table = source.architecture.embedding?.name
        return parameters.named.filter { parameters.isFirst || $0.name != table }
    }
}
