internal import GGUF
internal import HuggingFace
package import Models
internal import Support
package import TensorCore

/// Makes a Hugging Face folder of a GGUF file.
package struct GGUFImport {
    package init() {}

    /// Writes the folder `request.out` names from the file `request.source`, complete, read back and compared, or not at all.
    ///
    /// - Throws: `FileError`, ``ExportError``.
    package func write(_ request: ExportRequest) throws -> ExportReport {
        try request.checkFolder()
        let model = try GGUFModel(request.source)
        let digest = try InputFile(request.source).sha256()
        let type = try request.makeFolder { try fill($0, model, request, digest: digest) }
        let size = try entries(ofFolder: request.out).reduce(0) { $0 + bytes(at: request.out + "/" + $1) }
        return ExportReport(
            path: request.out, bytes: size, weights: model.entries.reduce(0) { $0 + $1.shape.reduce(1, *) },
            checked: "\(model.entries.count) tensors in \(type.rawValue) and the tokenizer read back, equal to the file")
    }

    /// Writes all that the folder holds, and compares it with the file.
    ///
    /// - Parameter digest: SHA-256 of the file.
    /// - Returns: the type that the weights have.
    private func fill(
        _ writer: HFFolderWriter, _ model: GGUFModel, _ request: ExportRequest, digest: String
    ) throws -> ElementType {
        let tokenizer = try GGUFTokenizer(model.file)
        let rows = model.description.architecture.vocabularySize
        guard tokenizer.tokens.count == rows else {
            throw model.file.failure(
                "tokenizer.ggml.tokens", "has \(counted(tokenizer.tokens.count, "token")) for \(rows) rows of the embedding")
        }
        let type = try request.elementType ?? exactType(model)
        let sources = model.entries.map { entry in
            TensorSource(entry.parameter, type, entry.shape) { .floats(try model.read(entry)) }
        }
        try Checkpoint.write(
            sources, to: writer.temporaryPath, maximumShardSize: request.shardBytes,
            metadata: Checkpoint.ownMetadata.merging([Self.digestKey: digest]) { $1 })
        var config = model.config
        config.setElementType(type)
        if let bos = tokenizer.bos { config.json["bos_token_id"] = .integer(bos) }
        let ends = [tokenizer.eos].compactMap(\.self) + tokenizer.furtherEnds
        if let first = ends.first {
            config.json["eos_token_id"] = ends.count > 1 ? .array(ends.map { .integer($0) }) : .integer(first)
        }
        try writer.write(config.text, as: "config.json")
        try tokenizer.write(to: writer)
        do throws(FileError) {
            _ = try Tokenizer(folder: writer.temporaryPath)
        } catch {
            throw error.calling("\(writer.temporaryPath)/tokenizer.json", "\(model.file.path): tokenizer.ggml")
        }
        try compare(writer.temporaryPath, model, tokenizer, type)
        return type
    }

    /// In the metadata of the folder's tensors.
    private static let digestKey = "source_sha256"

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
    /// What the name of a folder has after its file's.
    static let folderEnding = ".folder"

    /// The folder that stands for a model: of a GGUF file `FILE.gguf.folder`, made as by ``write(_:)`` unless it has been made
    /// of the same bytes before; any other path is a folder itself. Of several processes that make it at once, the first one's
    /// is what all use.
    ///
    /// - Throws: as ``write(_:)``; ``ExportError`` where something else has that name; `FileError` saying what to do where
    ///   nothing can be written beside the file.
    package static func folder(of path: String) throws -> String {
        guard GGUFFile.isNamed(by: path) else { return path }
        let (folder, digest) = (path + folderEnding, try InputFile(path).sha256())
        if try isMade(folder, of: path, digest) { return folder }
        let model = try GGUFModel(path)
        let writer: HFFolderWriter
        do {
            writer = try HFFolderWriter(folder, besideOthers: true)
        } catch {
            throw FileError(
                .inputOutput, path,
                "needs a folder beside it, which \(error.problem); make one elsewhere with sq-train import --out FOLDER, "
                    + "and give that")
        }
        _ = try GGUFImport().fill(writer, model, ExportRequest(source: path, out: folder), digest: digest)
        try writer.commit { try isMade(folder, of: path, digest) }
        return folder
    }

    /// Whether the folder is there and was made of these bytes; false for one made of others that the file had.
    ///
    /// Another process may be putting its own in the folder's place. So one folder is held and looked at, whatever it is called
    /// meanwhile, and only one that still has its name is none of an import's: an import's is moved before it is removed.
    static func isMade(_ folder: String, of path: String, _ digest: String) throws -> Bool {
        while let held = try HeldFile(folder) {
            if let made = digestOfSource(held.path) { return made == digest }
            guard !held.isNamed(folder) else {
                throw ExportError(.place, folder, "is where the folder imported from \(path) would be; move it away")
            }
        }
        return false
    }

    /// SHA-256 of the file that a folder was made of; nil for a folder that is no such one, or not any more.
    private static func digestOfSource(_ folder: String) -> String? {
        guard PathKind(folder + "/config.json") == .file, let checkpoint = try? Checkpoint(folder),
            let name = checkpoint.names.first
        else { return nil }
        return try? checkpoint.file(of: name).metadata[digestKey]
    }

    /// The weights in a GGUF file as float32, read without a folder; nil where the path names none.
    ///
    /// - Throws: `FileError`.
    package static func parameters(of path: String) throws -> Parameters<Tensor>? {
        GGUFFile.isNamed(by: path) ? try GGUFModel(path).parameters() : nil
    }
}
