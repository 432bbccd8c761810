package import Compression
package import HuggingFace
package import Models
internal import Support

/// A format that models leave in.
///
/// To add one, write it in a file of its own and list it in ``ModelWriters``; its name is a case of `ExportFormat`.
package protocol ModelWriter: Sendable {
    var format: ExportFormat { get }
    /// A line for people.
    var summary: String { get }

    /// What the file or folder is called where a job writes it.
    var fileName: String { get }

    /// Whether the source is a model; else it is a run folder with rotations.
    var readsModel: Bool { get }

    /// Why no model that does this at run time can leave in the format, and what works; nil where one can.
    func obstacle(_ execution: Execution, _ architecture: Architecture) -> String?

    /// Why nothing of such a result can leave in the format, and what makes what can; nil where it may.
    func obstacle(_ result: ExpectedResult) -> String?

    /// - Throws: ``ExportError`` where the format has no place for the network, whatever a job makes of its weights.
    func checkNetwork(of folder: ModelFolder) throws

    /// Writes the file or folder `request.out` names, which appears there complete, read back and compared, or not at all.
    ///
    /// - Throws: ``ExportError`` where the format cannot hold the model: before anything is written, where that can be known.
    func write(_ request: ExportRequest) throws -> ExportReport
}

extension ModelWriter {
    /// What the user should know of elements that are too small for a type.
    static func note(lost: Int, _ type: String) -> [String] {
        lost == 0 ? [] : ["\(lost) weight\(lost == 1 ? " is" : "s are") too small for \(type), and 0 now; bfloat16 holds them"]
    }

    package var readsModel: Bool { true }
    package func obstacle(_ execution: Execution, _ architecture: Architecture) -> String? { nil }
    package func obstacle(_ result: ExpectedResult) -> String? { nil }
    package func checkNetwork(of folder: ModelFolder) throws {}

    /// ``obstacle(_:_:)`` of a format of floats: they hold R4, and nothing else that is done at run time.
    func obstacleOfFloats(_ execution: Execution) -> String? {
        var rest = execution
        rest.r4 = false
        guard rest != .plain else { return nil }
        return "a format of floats cannot express activations that are rounded at run time, as they are here; export the "
            + "model it was made from, or quantize weights alone"
    }
}

/// What a job will leave, as far as its settings tell before its work.
package struct ExpectedResult: Sendable {
    package enum Linears: Sendable { case floats, integers, ternary }

    package let linears: Linears
    /// The fewest that a linear's integers have; nil where that is not known.
    package let integerBits: Int?
    /// Whether it leaves `rotations.safetensors` with R1 or R2.
    package let hasRotations: Bool
    /// nil where it is floats, or that is not known.
    package let embedding: SharedForm.Embedding?
    /// A linear whose weight stays floats, where the others' are integers.
    package let float: String?
    package let execution: Execution

    package init(
        linears: Linears, integerBits: Int? = nil, hasRotations: Bool = false, embedding: SharedForm.Embedding? = nil,
        float: String? = nil, execution: Execution = .plain
    ) {
        (self.linears, self.integerBits, self.hasRotations) = (linears, integerBits, hasRotations)
        (self.embedding, self.float, self.execution) = (embedding, float, execution)
    }
}

/// What is to be written where.
package struct ExportRequest: Sendable {
    /// A Hugging Face folder; for rotations a run folder or their file.
    package let source: String
    package let out: String
    package let overwrites: Bool
    /// Largest file of weights, in bytes.
    package let shardBytes: Int
    /// Of dense weights; nil: as the source has them.
    package let elementType: ElementType?

    package init(
        source: String, out: String, overwrites: Bool = false, shardBytes: Int = defaultShardBytes,
        elementType: ElementType? = nil
    ) {
        (self.source, self.out) = (source.withoutEndingSlashes, out.withoutEndingSlashes)
        self.overwrites = overwrites
        self.shardBytes = shardBytes
        self.elementType = elementType
    }

    package static let defaultShardBytes = 5_000_000_000

    /// The source, whose packed linears are exported as the floats they stand for, and down projections without R4.
    ///
    /// - Returns: what the user should know, too.
    /// - Throws: ``ExportError`` where it quantizes activations or rotates keys, which no format of floats can express; as
    ///   ``CompressedFolder/init(_:)``.
    func openModel(for writer: some ModelWriter) throws -> (folder: ModelFolder, notes: [String]) {
        let opened = try CompressedFolder(source)
        if let reason = writer.obstacle(opened.execution, opened.folder.architecture) {
            throw ExportError(.unfit, source, reason)
        }
        let packed = opened.folder.packed.map { ["\($0.form) are exported as the floats they stand for"] } ?? []
        let rotated = "R4 is taken out of the down projections, so that nothing is rotated at run time"
        return (opened.unrotated, packed + (opened.execution.r4 ? [rotated] : []))
    }

    /// - Parameters:
    ///   - kind: what is written, such as "GGUF file".
    ///   - beginning: of every such file; no other file is replaced, unless it is empty.
    ///   - read: files that are read, where these are not all that the source holds; they are not replaced.
    /// - Throws: ``ExportError`` where something is at `out` that may not be replaced, or `out` is in no folder; `FileError`
    ///   where it cannot be read.
    func checkFile(_ kind: String, beginning: [UInt8], read: [String]? = nil) throws {
        switch PathKind(out) {
        case .absent: try checkParent()
        case .file where overwrites:
            let isInput = read.map { $0.contains { resolvedPath($0) == resolvedPath(out) } } ?? isRead
            guard !isInput else {
                throw ExportError(.place, out, "is part of what is read; give another name")
            }
            let file = try InputFile(out)
            guard try file.size == 0 || file.begins(with: beginning) else {
                throw ExportError(.place, out, "exists and is not a \(kind), so that it is not replaced; give another name")
            }
        case .file: throw ExportError(.place, out, "exists already; --overwrite replaces it")
        default: throw ExportError(.place, out, "exists and is not a file; give the name of a new file")
        }
    }

    /// Makes the file at `out`, complete or not at all.
    ///
    /// - Parameter body: writes and checks it under the path that it is given, in a folder that only this process writes to.
    /// - Throws: `FileError`; what `body` throws, of `out` where it is of `path`.
    func makeFile(_ body: (_ path: String) throws -> Void) throws {
        let place = try WritingFolder.alone(out + ".tmp")
        try withExtendedLifetime(place) {
            let path = place.path + "/file"
            try calledOut(path) { try body(path) }
            guard overwrites || PathKind(out) == .absent else {
                throw ExportError(.place, out, "was created by another process meanwhile; --overwrite replaces it")
            }
            try renameDurably(path, to: out)
        }
    }

    /// Makes the folder at `out`, complete or not at all.
    ///
    /// - Parameter body: writes and checks it under the writer's temporary path.
    /// - Throws: `FileError`; what `body` throws, of `out` where it is of the temporary path.
    func makeFolder<Result>(_ body: (HFFolderWriter) throws -> Result) throws -> Result {
        let writer = try HFFolderWriter(out)
        let result = try calledOut(writer.temporaryPath) { try body(writer) }
        try writer.commit()
        return result
    }

    /// Errors with a file under its temporary name are reported under its final name.
    private func calledOut<Result>(_ path: String, _ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch let error as FileError {
            throw error.calling(path, out)
        } catch let error as ExportError {
            throw error.calling(path, out)
        }
    }

    /// - Throws: ``ExportError`` where something is at `out` that may not be replaced. Of folders only those of models may be.
    func checkFolder() throws(ExportError) {
        switch PathKind(out) {
        case .absent: try checkParent()
        case .folder where PathKind(out + "/config.json") == .file:
            guard overwrites else { throw ExportError(.place, out, "exists already; --overwrite replaces it as a whole") }
            guard PathKind(source + "/config.json") != .file || !isSameFolder else {
                throw ExportError(.place, out, "is the folder that is exported; give another one")
            }
            guard !holdsSource else {
                throw ExportError(
                    .place, out, "contains \(source), which is exported and would be removed with it; give another folder")
            }
            if let other = otherEntry {
                throw ExportError(
                    .place, out,
                    "holds \(other), which no export writes and which would be removed with it; give another folder")
            }
            try checkOutside()
        default:
            throw ExportError(
                .place, out, "exists and is not a model's folder, so that it is not replaced; give the name of a new folder")
        }
    }

    /// The first entry of the folder at `out`, by name, that this program does not write; nil where there is none.
    private var otherEntry: String? {
        let names = Set(
            HFFolderWriter.passedThrough + [
                "config.json", "model.safetensors", "model.safetensors.index.json", CompressedFolder.factorFileName,
                HFFolderWriter.provenance, "README.md", ".gitattributes",
            ])
        return ((try? entries(ofFolder: out)) ?? []).sorted().first { name in
            guard PathKind("\(out)/\(name)", followsLinks: true) == .file else { return true }
            let isShard = name.hasPrefix("model-") && name.hasSuffix(".safetensors")
            return !names.contains(name) && !isShard
        }
    }

    private func checkParent() throws(ExportError) {
        let parent = parentDirectory(of: out)
        guard PathKind(parent, followsLinks: true) == .folder else {
            throw ExportError(.place, out, "cannot be written: there is no folder \(parent)")
        }
        try checkOutside()
    }

    /// - Throws: ``ExportError`` where `out` is within the folder of a model that is read.
    private func checkOutside() throws(ExportError) {
        guard PathKind(source + "/config.json", followsLinks: true) == .file, let folder = resolvedPath(source),
            let parent = resolvedPath(parentDirectory(of: out)), parent == folder || parent.hasPrefix(folder + "/")
        else { return }
        throw ExportError(.place, out, "is within \(source), which is read and stays as it is; give a place outside of it")
    }

    /// Whether the file at `out` is the source, lies in it, or is what it was imported from.
    private var isRead: Bool {
        guard let inner = resolvedPath(out), let outer = resolvedPath(source) else { return false }
        return inner == outer || inner.hasPrefix(outer + "/") || outer == inner + GGUFImport.folderEnding
    }
    private var isSameFolder: Bool { resolvedPath(source) == resolvedPath(out) }
    private var holdsSource: Bool {
        guard let inner = resolvedPath(source), let outer = resolvedPath(out) else { return false }
        return inner.hasPrefix(outer + "/")
    }
}

/// What was written.
package struct ExportReport: Sendable {
    package let path: String
    package let bytes: Int
    /// Elements of all weights that it holds; 0 where that says nothing.
    package let weights: Int
    /// What was checked, a sentence's part.
    package let checked: String
    package let notes: [String]

    package init(path: String, bytes: Int, weights: Int, checked: String, notes: [String] = []) {
        (self.path, self.bytes, self.weights, self.checked, self.notes) = (path, bytes, weights, checked, notes)
    }
}

/// The formats there are.
package enum ModelWriters {
    package static let all: [any ModelWriter] =
        [
            HuggingFaceFolderWriter(), CompressedTensorsWriter(), CompressedTensorsWriter(padded: true),
            CompressedTensorsWriter(rotates: true), CompressedTensorsWriter(padded: true, rotates: true),
        ]
        + GGUFModelWriter.Precision.allCases.map { GGUFModelWriter($0) } + [ONNXFactorWriter(), RotationArchiveWriter()]

    /// The writer of a format.
    package static func named(_ format: ExportFormat) -> any ModelWriter {
        guard let writer = all.first(where: { $0.format == format }) else { preconditionFailure("no writer of \(format)") }
        return writer
    }

    /// - Throws: ``ExportError`` for an unknown format.
    package static func named(_ name: String) throws(ExportError) -> any ModelWriter {
        guard let format = ExportFormat(rawValue: name) else {
            throw ExportError(.place, name, "is not a format; use one of \(ExportFormat.names)")
        }
        return named(format)
    }
}

/// Where written things come from, for their metadata.
struct Provenance {
    let digest: String
    /// What the job that made the folder has left: the command, the source, the perplexity to expect of the folder; nil where
    /// none has. A form that rounds again has a perplexity of its own.
    let record: JSONValue?

    init(_ folder: ModelFolder) throws(FileError) {
        digest = try folder.checkpoint.digest()
        let path = "\(folder.path)/\(HFFolderWriter.provenance)"
        // Not with `? nil :`, which would be JSON's null.
        if PathKind(path) == .absent { record = nil } else { record = try InputFile.json(path) }
    }

    /// `provenance.json` of a form with numbers of its own: the record of what it was made from is within.
    var json: JSONValue {
        var result = JSONObject()
        result[ProgramVersion.key] = .string(ProgramVersion.name)
        result["source_sha256"] = .string(digest)
        result["source_provenance"] = record
        return .object(result)
    }

    /// The metadata of safetensors files.
    var metadata: [String: String] { Dictionary(uniqueKeysWithValues: [("format", "pt")] + entries) }

    /// Texts by name, for formats that hold such.
    var entries: [(key: String, value: String)] {
        [(ProgramVersion.key, ProgramVersion.name), ("source_sha256", digest)]
            + (record.map { [("source_provenance", $0.text(.compact))] } ?? [])
    }
}
