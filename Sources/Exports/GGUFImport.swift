internal import GGUF
internal import HuggingFace
internal import Models
internal import Support
internal import Synchronization
internal import TensorCore

/// Makes a Hugging Face folder of a GGUF file.
package struct GGUFImport {
    package init() {}

    /// Writes the folder `request.out` names from the file `request.source`, complete, read back and compared, or not at all.
    ///
    /// - Throws: `FileError`, ``ExportError``.
    package func write(_ request: ExportRequest) throws -> ExportReport {
        try request.checkFolder()
        let model = try GGUFModel(request.source)
        let tokenizer = try GGUFTokenizer(model.file)
        let type = try request.elementType ?? exactType(model)
        let writer = try HFFolderWriter(request.out)
        let sources = model.entries.map { entry in
            TensorSource(entry.parameter, type, entry.shape) { .floats(try model.read(entry)) }
        }
        try Checkpoint.write(
            sources, to: writer.temporaryPath, maximumShardSize: request.shardBytes,
            metadata: Checkpoint.ownMetadata.merging(["source_sha256": try InputFile(request.source).sha256()]) { $1 })
        var config = model.config
        config.json["dtype"] = .string(type.frameworkName)
        config.json["torch_dtype"] = .string(type.frameworkName)
        for (key, id) in [("bos_token_id", tokenizer.bos), ("eos_token_id", tokenizer.eos)] {
            if let id { config.json[key] = .integer(id) }
        }
        try writer.write(config.text, as: "config.json")
        try tokenizer.write(to: writer)
        try compare(writer.temporaryPath, model, tokenizer, type)
        try writer.commit()
        let size = try entries(ofFolder: request.out).reduce(0) { $0 + bytes(at: request.out + "/" + $1) }
        return ExportReport(
            path: request.out, bytes: size, weights: model.entries.reduce(0) { $0 + $1.shape.reduce(1, *) },
            checked: "\(model.entries.count) tensors in \(type.rawValue) and the tokenizer read back, equal to the file")
    }

    /// The type that holds every value as it is: half precision where all matrices are in it and the vectors, which GGUF keeps
    /// in float32, lose nothing, else float32.
    private func exactType(_ model: GGUFModel) throws -> ElementType {
        let encodings = Set(model.entries.filter { $0.shape.count > 1 }.compactMap { model.file.info($0.name)?.encoding })
        guard encodings.count == 1, let encoding = encodings.first, encoding == .f16 || encoding == .bf16 else { return .f32 }
        let type = encoding == .f16 ? ElementType.f16 : .bf16
        for entry in model.entries where entry.shape.count == 1 {
            let vector = try model.read(entry)
            if firstDifference(vector, vector.rounded(to: type)) != nil { return .f32 }
        }
        return type
    }

    private func compare(_ path: String, _ model: GGUFModel, _ tokenizer: GGUFTokenizer, _ type: ElementType) throws {
        let folder = try ModelFolder(path)
        guard folder.architecture == model.description.architecture else {
            throw ExportError(.unequal, path, "describes another network than \(model.file.path)")
        }
        guard try GGUFTokenizer.ofFolder(path, rows: folder.architecture.vocabularySize).tokenizer == tokenizer else {
            throw ExportError(.unequal, path, "has another tokenizer than \(model.file.path)")
        }
        for entry in model.entries {
            let expected = try model.read(entry).rounded(to: type)
            if let index = firstDifference(try folder.checkpoint.read(entry.parameter, shape: entry.shape), expected) {
                throw ExportError(
                    .unequal, "\(path): tensor \(entry.parameter)", "element \(index) is not what was to be written")
            }
        }
    }
}

extension GGUFImport {
    /// The folder that stands for a GGUF file where a model is meant, `FILE.gguf.folder`: made by ``write(_:)`` unless it has
    /// been made of the same bytes before. Not by two processes at a time.
    ///
    /// - Throws: as ``write(_:)``; ``ExportError`` where something else has that name.
    package static func folder(of path: String) throws -> String {
        let folder = path + ".folder"
        guard made.withLock({ !$0.contains(path) }) else { return folder }
        if try PathKind(folder) == .absent || !isMade(folder, of: path) {
            _ = try GGUFImport().write(ExportRequest(source: path, out: folder, overwrites: true))
        }
        _ = made.withLock { $0.insert(path) }
        return folder
    }

    /// Files whose folders this process has looked at, since that reads them whole.
    private static let made = Mutex(Set<String>())

    /// Whether a folder was made of these bytes; false for a folder made of others that the file had.
    private static func isMade(_ folder: String, of path: String) throws -> Bool {
        guard PathKind(folder + "/config.json") == .file, let checkpoint = try? Checkpoint(folder),
            let name = checkpoint.names.first, let digest = try checkpoint.file(of: name).metadata["source_sha256"]
        else {
            throw ExportError(.place, folder, "is in the place of the folder that stands for \(path); move it away")
        }
        return digest == (try InputFile(path).sha256())
    }
}
