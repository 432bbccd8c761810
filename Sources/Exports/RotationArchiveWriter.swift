internal import GGUF
internal import HuggingFace
package import Models
internal import Rotation
internal import Support
internal import TensorCore

/// SpinQuant's `R.bin` of a run's `rotations.safetensors`.
package struct RotationArchiveWriter: ModelWriter {
    package let format = ExportFormat.rotations
    package let summary = "the rotations of a run as SpinQuant's R.bin, which torch.load reads with weights_only=True"

    package let readsModel = false

    package var fileName: String { Rotations.archiveName }

    package init() {}

    package func obstacle(_ result: ExpectedResult) -> String? {
        result.hasRotations ? nil : "the job makes neither R1 nor R2, which the format consists of; rotate does"
    }

    /// As ``ModelWriter/write(_:)``: the rotations of a run, read back and compared bit for bit.
    package func write(_ request: ExportRequest) throws -> ExportReport {
        let isRun = PathKind(request.source) == .folder
        let path = isRun ? "\(request.source)/\(Rotations.fileName)" : request.source
        let own = isRun ? ["\(request.source)/\(fileName)"] : []
        try request.checkFile(fileName, beginning: TorchArchive.magic, read: [path] + own)
        try checkReplaced(request.out)
        guard PathKind(path) != .absent else {
            throw ExportError(.unfit, request.source, "holds no \(Rotations.fileName); give the run folder of a rotate")
        }
        guard try !InputFile(path).begins(with: GGUFFile.magic) else {
            throw ExportError(.unfit, path, "is a GGUF file, which holds no rotations; give the run folder of a rotate")
        }
        let rotations = try self.rotations(path)
        try request.makeFile { file in
            try rotations.writeTorchArchive(to: file, called: request.out)
            let archive = try TorchArchive(file)
            guard archive.names == rotations.named.map(\.name) else {
                throw ExportError(.unequal, request.out, "holds other rotations than \(path)")
            }
            for (name, tensor) in rotations.named {
                let written = try archive.read(name)
                guard written.shape == tensor.shape, firstDifference(written, tensor) == nil else {
                    throw ExportError(.unequal, "\(request.out): \(name)", "is not what was to be written")
                }
            }
        }
        return ExportReport(
            path: request.out, bytes: bytes(at: request.out), weights: 0,
            checked: "\(rotations.named.count) rotations read back, equal to the source")
    }

    /// Many files begin as a ZIP archive does.
    private func checkReplaced(_ out: String) throws {
        guard PathKind(out) == .file, try InputFile(out).size > 0, (try? rotations(out)) == nil else { return }
        throw ExportError(.place, out, "exists and holds no rotations, so that it is not replaced; give another name")
    }

    /// Rotations of the sizes that the file itself has.
    private func rotations(_ path: String) throws -> Rotations {
        let (names, shape): ([String], (String) throws -> [Int])
        if path.hasSuffix(".safetensors") {
            let file = try SafetensorsFile(path)
            (names, shape) = (file.names, { try file.info($0).shape })
        } else {
            let archive = try TorchArchive(path)
            (names, shape) = (archive.names, { try archive.read($0).shape })
        }
        let heads = names.filter { $0 != "R1" }
        let hidden = try names.contains("R1") ? shape("R1").first ?? 0 : 0
        let head = try heads.first.map { try shape($0).first ?? 0 } ?? 0
        return try Rotations(contentsOf: path, hidden: hidden, head: head, layers: heads.count)
    }
}
