internal import Compression
internal import HuggingFace
package import Models
internal import Support

/// A folder of packed integers, as `quantize` leaves it: what transformers and vLLM load through compressed-tensors.
package struct CompressedTensorsWriter: ModelWriter {
    /// Whether packed zero points have the rows that transformers 5 makes room for; the published layout has those that are
    /// used alone.
    private let isPadded: Bool

    package var format: ExportFormat { isPadded ? .paddedCompressedTensors : .compressedTensors }
    package var summary: String {
        isPadded
            ? "the same with asymmetric weights' zero points as transformers 5 makes room for them, not as published"
            : "packed integers as transformers and vLLM load them, of a folder that quantize or rotate has made"
    }

    package var fileName: String { format.rawValue }

    package init(padded: Bool = false) { isPadded = padded }

    /// As ``ModelWriter/write(_:)``; the folder is read back and compared before it takes its place.
    package func write(_ request: ExportRequest) throws -> ExportReport {
        try request.checkFolder()
        let opened = try CompressedFolder(request.source)
        let folder = opened.folder
        guard let packed = folder.packed else {
            throw ExportError(
                .unfit, folder.path,
                "holds floats; sq-train quantize \(folder.path) --set quantization.weights.bits=4 writes packed integers")
        }
        guard opened.isShared else {
            throw ExportError(
                .unfit, folder.path,
                "\(packed.form) with what it does to activations are beyond compressed-tensors: it has integers (of 8 "
                    + "bits in an embedding), activations as they are or, beside 8-bit weights, rounded by token, and no R3 "
                    + "or R4")
        }
        let writer = try HFFolderWriter(request.out)
        let checkpoint = folder.checkpoint
        let sources = try checkpoint.names.map { name in
            let (info, rows) = (try checkpoint.info(name), try rows(of: name, in: checkpoint))
            let shape = rows.map { [$0] + info.shape.dropFirst() } ?? info.shape
            return TensorSource(name, info.type, shape) { .bytes(try content(name, of: checkpoint)) }
        }
        try Checkpoint.write(
            sources, to: writer.temporaryPath, maximumShardSize: request.shardBytes,
            metadata: try Provenance(folder).metadata)
        try writer.copy(["config.json"] + HFFolderWriter.passedThrough + [HFFolderWriter.provenance], from: folder.path)
        let written = try CompressedFolder(writer.temporaryPath).folder.checkpoint
        for name in checkpoint.names
        where try written.file(of: name).readBytes(name) != content(name, of: checkpoint) {
            throw ExportError(.unequal, "\(request.out): tensor \(name)", "is not what was to be written")
        }
        try writer.commit()
        return ExportReport(
            path: request.out, bytes: try bytes(inFolder: request.out),
            weights: folder.architecture.parameters().named.reduce(0) { $0 + $1.value.count },
            checked: "\(checkpoint.names.count) tensors read back, equal to the source", notes: folder.warnings)
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
