package import Compression
internal import GGUF
internal import HuggingFace
package import Models
internal import Support
internal import TensorCore

/// A GGUF file that llama.cpp and its relatives run.
package struct GGUFModelWriter: ModelWriter {
    /// What the linear layers' weights are stored in.
    package enum Precision: String, Sendable, CaseIterable {
        case f32, f16, bf16, q8_0, q4_0, tq2_0

        var encoding: GGUFEncoding {
            switch self {
            case .f32: .f32
            case .f16: .f16
            case .bf16: .bf16
            case .q8_0: .q8_0
            case .q4_0: .q4_0
            case .tq2_0: .tq2_0
            }
        }

        /// Of the embedding and the head, which lose most: llama.cpp's own files of 4 bits keep more of them too.
        var endEncoding: GGUFEncoding {
            switch self {
            case .q4_0: .q8_0
            case .tq2_0: .f16
            case .f32, .f16, .bf16, .q8_0: encoding
            }
        }

        /// `general.file_type`.
        var fileType: UInt32 {
            switch self {
            case .f32: 0
            case .f16: 1
            case .q4_0: 2
            case .q8_0: 7
            case .bf16: 32
            case .tq2_0: 37
            }
        }

        var summary: String {
            switch self {
            case .f32, .f16, .bf16: "GGUF for llama.cpp, matrices in \(encoding.name)"
            case .q8_0: "GGUF for llama.cpp, matrices in Q8_0 (8 bits, a scale for 32)"
            case .q4_0: "GGUF for llama.cpp, linear layers in Q4_0 (4 bits, a scale for 32), embedding and head in Q8_0"
            case .tq2_0:
                "GGUF for llama.cpp, linear layers in TQ2_0, of models whose blocks of 256 are exactly one scale times −1, 0, 1"
            }
        }
    }

    private let precision: Precision

    package init(_ precision: Precision) { self.precision = precision }

    package var format: ExportFormat {
        switch precision {
        case .f32: .ggufF32
        case .f16: .ggufF16
        case .bf16: .ggufBF16
        case .q8_0: .ggufQ8
        case .q4_0: .ggufQ4
        case .tq2_0: .ggufTQ2
        }
    }
    package var fileName: String { "model-\(precision.rawValue).gguf" }
    package var summary: String { precision.summary }

    package func obstacle(_ execution: Execution, _ architecture: Architecture) -> String? { obstacleOfFloats(execution) }

    package func obstacle(_ result: ExpectedResult) -> String? {
        guard precision == .tq2_0 else { return nil }
        // Integers of two bits are −2 to 1, and may be none of −2.
        if result.linears == .integers, result.integerBits ?? 2 <= 2 { return nil }
        return "the format holds only blocks of 256 weights that are one scale times −1, 0 or 1, which the job does not make; "
            + "use gguf-q4_0 or gguf-q8_0"
    }

    /// As ``ModelWriter/write(_:)``; tensors, values and tokenizer are read back and compared with the source.
    package func write(_ request: ExportRequest) throws -> ExportReport {
        try request.checkFile("GGUF file", beginning: GGUFFile.magic)
        let (folder, packed) = try request.openModel(for: self)
        let form = try form(of: folder)
        try checkValues(form, folder)
        let (tokenizer, notes) = try tokenizer(of: folder)
        let values = try general(folder, form) + form.values + tokenizer.values
        var lost = 0
        try request.makeFile { path in
            try GGUFFile.write(values, tensors(folder, form), to: path)
            lost = try compare(path, folder, form, tokenizer)
        }
        return ExportReport(
            path: request.out, bytes: bytes(at: request.out), weights: form.entries.reduce(0) { $0 + $1.shape.reduce(1, *) },
            checked: "\(form.entries.count) tensors, configuration and tokenizer read back, equal to the source",
            notes: folder.warnings + packed + form.notes + notes + Self.note(lost: lost, precision.encoding.name)
                + ["tokenizer.ggml.pre is \(tokenizer.pre.name)"])
    }

    /// What the network is, which no job changes, and its tokenizer.
    package func checkNetwork(of folder: ModelFolder) throws {
        _ = try form(of: folder)
        _ = try tokenizer(of: folder)
    }

    private func form(of folder: ModelFolder) throws(ExportError) -> GGUFForm {
        switch folder.description.gguf {
        case .form(let form):
            try checkRows(form, folder)
            return form
        case .refused(let reason):
            throw ExportError(
                .unfit, folder.path, "\(format.rawValue): \(reason) (\(folder.architecture.type)); use --format huggingface")
        }
    }

    private func tokenizer(of folder: ModelFolder) throws -> (tokenizer: GGUFTokenizer, notes: [String]) {
        try GGUFTokenizer.ofFolder(folder.path, rows: folder.architecture.vocabularySize)
    }

    private func encoding(_ entry: GGUFForm.Entry) -> GGUFEncoding {
        guard entry.shape.count == 2 else { return .f32 }
        switch entry.role {
        case .embedding, .head: return precision.endEncoding
        default: return precision.encoding
        }
    }

    private func checkRows(_ form: GGUFForm, _ folder: ModelFolder) throws(ExportError) {
        for entry in form.entries {
            let (encoding, width) = (encoding(entry), entry.shape.last ?? 0)
            guard width % encoding.blockLength == 0 else {
                throw ExportError(
                    .unfit, "\(folder.path): tensor \(entry.parameter)",
                    "rows of \(width) do not divide into the blocks of \(encoding.blockLength) of \(encoding.name); use "
                        + "--format "
                        + (precision != .q8_0 && width % 32 == 0 ? "gguf-q8_0" : "gguf-f16"))
            }
        }
    }

    /// That TQ2_0 and F16 hold what they are to hold: only the values tell, and are read once more for it.
    private func checkValues(_ form: GGUFForm, _ folder: ModelFolder) throws {
        for entry in form.entries {
            let obstacle: String?
            switch encoding(entry) {
            case .tq2_0: obstacle = GGUFEncoding.tq2_0.obstacle(to: try source(entry, folder))
            case .f16:
                obstacle = ElementType.f16.obstacle(to: try source(entry, folder)).map { "\($0); use --format gguf-bf16" }
            default: obstacle = nil
            }
            if let obstacle { throw ExportError(.unfit, "\(folder.path): tensor \(entry.parameter)", obstacle) }
        }
    }

    private func general(_ folder: ModelFolder, _ form: GGUFForm) throws -> [(key: String, value: GGUFValue)] {
        let provenance = try Provenance(folder)
        // A run's folder is called as all runs' are: the run has the name.
        let names = (resolvedPath(folder.path) ?? "").split(separator: "/")
        let own = names.last == "model" && names.count > 1 ? names.dropLast().last : names.last
        var name = own.map(String.init) ?? folder.architecture.type
        // What stands for a GGUF file is called as the file.
        let ending = GGUFFile.ending + GGUFImport.folderEnding
        if name.hasSuffix(ending), name != ending { name.removeLast(ending.count) }
        return [
            ("general.architecture", .string(form.architecture)), ("general.type", .string("model")),
            ("general.name", .string(name)), ("general.file_type", .uint32(precision.fileType)),
            ("general.quantization_version", .uint32(2)),
        ] + provenance.entries.map { ("sq_train." + $0.key, .string($0.value)) }
    }

    /// A parameter's values; of a tied head the embedding's.
    private func source(_ entry: GGUFForm.Entry, _ folder: ModelFolder) throws -> Tensor {
        let isTied = entry.role == .head && folder.architecture.tiesHead
        let name = isTied ? folder.architecture.embedding?.name ?? entry.parameter : entry.parameter
        return try folder.tensor(name, shape: entry.shape)
    }

    private func tensors(_ folder: ModelFolder, _ form: GGUFForm) -> [GGUFTensorSource] {
        form.constants.map { constant in GGUFTensorSource(constant.name, .f32, constant.tensor.shape) { constant.tensor } }
            + form.entries.map { entry in
                GGUFTensorSource(entry.name, encoding(entry), entry.shape) { entry.stored(try source(entry, folder)) }
            }
    }

    /// - Returns: elements that are too small for half precision, or for their block's scale in it.
    /// - Throws: ``ExportError`` where the file, read as a model, is not the source in this precision.
    private func compare(
        _ path: String, _ folder: ModelFolder, _ form: GGUFForm, _ tokenizer: GGUFTokenizer
    ) throws -> Int {
        let model = try GGUFModel(path)
        func unequal(_ place: String) -> ExportError {
            ExportError(.unequal, "\(path): \(place)", "is not what was to be written")
        }
        guard model.form.architecture == form.architecture, model.form.entries == form.entries,
            model.form.values.map(\.key) == form.values.map(\.key), model.form.values.map(\.value) == form.values.map(\.value)
        else { throw unequal("configuration") }
        guard try GGUFTokenizer(model.file) == tokenizer else { throw unequal("tokenizer") }
        for constant in form.constants where firstDifference(try model.file.read(constant.name), constant.tensor) != nil {
            throw unequal("tensor \(constant.name)")
        }
        var lost = 0
        for entry in form.entries {
            let original = try source(entry, folder)
            let expected = try encoding(entry).rounded(original)
            if encoding(entry) != .f32, encoding(entry) != .bf16 {
                lost += lostElements(original, written: expected, block: encoding(entry).blockLength)
            }
            if let index = firstDifference(try model.read(entry), expected) {
                throw unequal("tensor \(entry.name): element \(index)")
            }
        }
        return lost
    }
}
