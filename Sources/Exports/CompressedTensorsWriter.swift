package import Compression
internal import HuggingFace
package import Models
internal import Support

/// A folder of packed integers, as `quantize` leaves it: what transformers and vLLM load through compressed-tensors.
package struct CompressedTensorsWriter: ModelWriter {
    /// Whether packed zero points have the rows that transformers 5 makes room for; the published layout has those that are
    /// used alone.
    private let isPadded: Bool
    /// Whether the down projections' input is rotated at run time, and `transform_config` says so.
    private let rotates: Bool

    package var format: ExportFormat {
        .compressedTensors(rotates: rotates, isPadded: isPadded)
    }

    package var summary: String {
        switch (rotates, isPadded) {
        case (false, false): "packed integers as transformers and vLLM load them, of a folder that quantize or rotate has made"
        case (false, true):
            "the same with asymmetric weights' zero points as transformers 5 makes room for them, not as published"
        case (true, false):
            "packed integers with R4 as transform_config, for vLLM; transformers ignores R4 unless it is loaded as the "
                + "folder's README.md says"
        case (true, true): "the same with zero points for transformers 5"
        }
    }

    package var fileName: String { format.rawValue }

    package init(padded: Bool = false, rotates: Bool = false) { (isPadded, self.rotates) = (padded, rotates) }

    package func obstacle(_ execution: Execution, _ architecture: Architecture) -> String? {
        if rotates, !execution.r4 {
            return "it rotates nothing at run time, so that it needs no transform_config; use --format compressed-tensors"
        }
        return SharedForm.obstacle(execution, architecture, rotates: rotates)
    }

    package func obstacle(_ result: ExpectedResult) -> String? {
        switch result.linears {
        case .integers: SharedForm.obstacle(result.embedding, float: result.float, result.execution)
        case .floats:
            "the job makes no packed integers, which the format is for; rotate and quantize do with quantization.weights.bits=4"
        case .ternary: "ternary factors are not integers; use onnx for ternary factors, or huggingface for floats"
        }
    }

    /// As ``ModelWriter/write(_:)``; the folder is read back and compared before it takes its place.
    package func write(_ request: ExportRequest) throws -> ExportReport {
        try request.checkFolder()
        let opened = try CompressedFolder(request.source)
        let form = try form(of: opened)
        let folder = opened.folder
        let checkpoint = folder.checkpoint
        let names = form?.tensors ?? checkpoint.names
        let sources = try names.map { name in
            let (info, rows) = (try checkpoint.info(name), try rows(of: name, in: checkpoint))
            let shape = rows.map { [$0] + info.shape.dropFirst() } ?? info.shape
            return TensorSource(name, info.type, shape) { .bytes(try content(name, of: checkpoint)) }
        }
        try request.makeFolder { writer in
            try Checkpoint.write(
                sources + (form?.matrices ?? []), to: writer.temporaryPath, maximumShardSize: request.shardBytes,
                metadata: try Provenance(folder).metadata)
            if let form { try writer.write(form.config.text, as: "config.json") }
            if rotates { try writer.write(card(request.out, opened, form).text, as: "README.md") }
            let own = form == nil ? ["config.json"] : []
            try writer.copy(own + HFFolderWriter.passedThrough + [HFFolderWriter.provenance], from: folder.path)
            let written = try CompressedFolder(writer.temporaryPath)
            for name in names
            where try written.folder.checkpoint.file(of: name).readBytes(name) != content(name, of: checkpoint) {
                throw ExportError(.unequal, "\(request.out): tensor \(name)", "is not what was to be written")
            }
            guard written.execution == form?.execution ?? opened.execution else {
                throw ExportError(
                    .unequal, "\(request.out)/config.json", "describes activations otherwise than was to be written")
            }
        }
        return ExportReport(
            path: request.out, bytes: try bytes(inFolder: request.out),
            weights: folder.architecture.parameters().named.reduce(0) { $0 + $1.value.count },
            checked: "\(names.count) tensors read back, equal to the source",
            notes: folder.warnings + notes(opened, form))
    }

    /// - Returns: nil where the folder's own config.json is complete.
    /// - Throws: ``ExportError`` for what compressed-tensors cannot express.
    private func form(of opened: CompressedFolder) throws -> SharedForm? {
        let path = opened.folder.path
        guard opened.folder.packed != nil else {
            throw ExportError(
                .unfit, path,
                "holds floats; sq-train quantize \(path) --set quantization.weights.bits=4 writes packed integers")
        }
        let isItself = opened.isShared && !rotates && !opened.execution.r4
        let own = isItself ? nil : obstacle(opened.execution, opened.folder.architecture)
        // Also of a folder that says it is one: it may hold what only this program reads.
        if let reason = try SharedForm.obstacle(opened, rotates: rotates) ?? own {
            throw ExportError(.unfit, path, "cannot be written as compressed-tensors: \(reason)")
        }
        return isItself ? nil : try SharedForm(opened)
    }

    private func card(_ path: String, _ opened: CompressedFolder, _ form: SharedForm?) -> RotatingFolderCard {
        RotatingFolderCard(path, roundsPacked: form.map { roundsPacked(opened, $0) } ?? false)
    }

    /// Whether inputs of packed integers are rounded.
    private func roundsPacked(_ opened: CompressedFolder, _ form: SharedForm) -> Bool {
        form.execution.activationBits < 16 && opened.folder.checkpoint.names.contains { $0.hasSuffix(".weight_packed") }
    }

    /// Which programs run the folder, where not all do that read the format.
    private func notes(_ opened: CompressedFolder, _ form: SharedForm?) -> [String] {
        guard let form else { return [] }
        var notes: [String] = []
        let isRefused = roundsPacked(opened, form)
        if rotates {
            notes.append(
                "transformers 5.24 with compressed-tensors 0.20 loads this folder and silently ignores R4: its "
                    + "answers are wrong unless it is loaded as the folder's README.md says")
            if !isRefused {
                notes.append(
                    "vLLM rotates as transform_config says, but not with tensor parallelism; llama.cpp and others cannot")
            }
        }
        if isRefused {
            notes.append(
                "vLLM does not support packed integers with rounded inputs, and refuses the folder; transformers runs it")
        }
        return notes
    }

    /// nil where they are as they should be.
    private func rows(of name: String, in checkpoint: Checkpoint) throws -> Int? {
        isPadded ? try IntegerTensors.paddedRows(name, in: checkpoint) : nil
    }

    private func content(_ name: String, of checkpoint: Checkpoint) throws -> [UInt8] {
        let (bytes, info) = (try checkpoint.file(of: name).readBytes(name), try checkpoint.info(name))
        guard let rows = try rows(of: name, in: checkpoint), let stored = info.shape.first, stored < rows else { return bytes }
        return bytes + [UInt8](repeating: 0, count: (rows - stored) * info.rowLength * info.type.size)
    }
}
