package import Compression
internal import HuggingFace
package import Models
internal import Support
internal import TensorCore

/// A dense Hugging Face folder: what transformers, and every program that reads its folders, loads.
package struct HuggingFaceFolderWriter: ModelWriter {
    package let format = ExportFormat.huggingface
    package let summary = "dense safetensors with config.json and tokenizer, in --dtype, sharded above --shard-bytes"

    package var fileName: String { format.rawValue }

    package init() {}

    package func obstacle(_ execution: Execution, _ architecture: Architecture) -> String? { obstacleOfFloats(execution) }

    /// As ``ModelWriter/write(_:)``: every packed linear becomes a matrix of floats.
    package func write(_ request: ExportRequest) throws -> ExportReport {
        try request.checkFolder()
        let (folder, notes) = try request.openModel(for: self)
        let type = try request.elementType ?? folder.elementType
        let provenance = try Provenance(folder)
        let parameters = folder.architecture.parameters().named
        let sources = parameters.map { name, spec in
            TensorSource(name, type, spec.shape) { .floats(try folder.tensor(name, shape: spec.shape)) }
        }
        let lost = try request.makeFolder { writer in
            try Checkpoint.write(
                sources, to: writer.temporaryPath, maximumShardSize: request.shardBytes,
                metadata: provenance.metadata)
            try writer.write(config(folder, type).text, as: "config.json")
            try writer.copy(from: folder.path)
            // Floats have other bits, and what the source's record says of those is the source's.
            try writer.write(provenance.json.text() + "\n", as: HFFolderWriter.provenance)
            return try compare(folder, with: writer.temporaryPath, type)
        }
        return ExportReport(
            path: request.out, bytes: try bytes(inFolder: request.out), weights: parameters.reduce(0) { $0 + $1.value.count },
            checked: "\(parameters.count) tensors read back, equal to the source's in \(type.rawValue)",
            notes: folder.warnings + notes + Self.note(lost: lost, type.frameworkName))
    }

    private func config(_ folder: ModelFolder, _ type: ElementType) -> HFConfig {
        var config = folder.config
        config.json["tie_word_embeddings"] = .bool(folder.architecture.tiesHead)
        config.setElementType(type)
        return config
    }

    /// - Returns: elements that are 0 in this type alone.
    /// - Throws: ``ExportError`` where the folder at `path` is not the source rounded to `type`.
    private func compare(_ folder: ModelFolder, with path: String, _ type: ElementType) throws -> Int {
        var lost = 0
        let written = try ModelFolder(path)
        guard written.architecture == folder.architecture else {
            throw ExportError(.unequal, path, "describes another network than \(folder.path): \(written.architecture.summary)")
        }
        for (name, spec) in folder.architecture.parameters().named {
            let original = try folder.tensor(name, shape: spec.shape)
            let expected = original.rounded(to: type)
            lost += lostElements(original, written: expected)
            if let index = firstDifference(try written.checkpoint.read(name, shape: spec.shape), expected) {
                throw ExportError(.unequal, "\(path): tensor \(name)", "element \(index) is not what was to be written")
            }
        }
        return lost
    }
}
