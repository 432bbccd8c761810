internal import Compression
internal import Configuration
internal import Exports
internal import Models
internal import Runs
internal import Support
internal import Trainer

/// The exports of `export.formats`, which jobs write below `exports/` of their folder after their results.
///
/// Exports are made only from results, so that the missing ones of a killed or failed run can be made later without repeating
/// its work.
struct RunExports {
    let config: RunConfig
    let folder: RunFolder
    let reporter: Reporter

    /// The formats that are missing. An export appears whole or not at all.
    var missing: [ExportFormat] {
        config.export.formats.all.filter { PathKind(path(ModelWriters.named($0))) == .absent }
    }

    /// Makes the missing exports.
    ///
    /// - Returns: the formats that were made.
    /// - Throws: as `ModelWriter.write(_:)`.
    @discardableResult
    func makeMissing() throws -> [ExportFormat] {
        let formats = missing
        for format in formats {
            let writer = ModelWriters.named(format)
            try makeFolder(folder.file(RunFiles.exports))
            let source = writer.readsModel ? folder.file(RunFiles.model) : folder.path
            let report = try writer.write(ExportRequest(source: source, out: path(writer), overwrites: true))
            for note in report.notes { reporter.note("note: \(note)") }
            reporter.note("\(report.path): \(report.bytes) bytes; \(report.checked)")
        }
        return formats
    }

    /// Names of the jobs that make a model.
    private static let jobs = [RotateJob.name, TrainJob.name, PtqJob.name, QatJob.name, QuantizeJob.name]

    /// Makes the missing exports of a finished run, while no other run uses its folder.
    ///
    /// - Returns: the formats that were made.
    /// - Throws: ``FolderInUse``; as ``makeMissing()``.
    func complete(job: String) throws -> [ExportFormat] {
        guard Self.jobs.contains(job), !missing.isEmpty else { return [] }
        try folder.claim()
        return try makeMissing()
    }

    private func path(_ writer: any ModelWriter) -> String { folder.file("\(RunFiles.exports)/\(writer.fileName)") }
}

extension RunConfig {
    /// - Parameter execution: what the job's model will do at run time.
    /// - Throws: ``ConfigurationError`` where it cannot be exported in a format of `export.formats`, whatever its weights
    ///   become.
    func checkExports(_ execution: Execution, _ architecture: Architecture) throws(ConfigurationError) {
        try checkExports { $0.obstacle(execution, architecture) }
    }

    /// Checks that the formats of `export.formats` can hold a model's network and tokenizer.
    ///
    /// - Throws: as `ModelWriter.checkNetwork(of:)`.
    func checkExports(from folder: ModelFolder) throws {
        for format in export.formats.all { try ModelWriters.named(format).checkNetwork(of: folder) }
    }

    /// - Throws: ``ConfigurationError`` where a job makes nothing that a format of `export.formats` could hold.
    func checkExports(job: String, _ architecture: Architecture) throws(ConfigurationError) {
        guard !export.formats.all.isEmpty else { return }
        let result = expectedResult(job, architecture)
        try checkExports { $0.obstacle(result) }
        // Only packed integers come with run-time rotations and rounded inputs.
        if result.linears != .integers { try checkExports(.plain, architecture) }
    }

    /// - Throws: ``ConfigurationError`` where none of the job's possible results can be exported in some format.
    func checkExports(_ results: [ExpectedResult], _ architecture: Architecture) throws(ConfigurationError) {
        try checkExports { writer in
            let obstacles = results.map { writer.obstacle($0) ?? writer.obstacle($0.execution, architecture) }
            return obstacles.contains { $0 == nil } ? nil : obstacles.first ?? nil
        }
    }

    private func checkExports(_ obstacle: (any ModelWriter) -> String?) throws(ConfigurationError) {
        for format in export.formats.all {
            guard let reason = obstacle(ModelWriters.named(format)) else { continue }
            throw ConfigurationError("export.formats", "\(format.rawValue): \(reason)")
        }
    }

    private func expectedResult(_ job: String, _ architecture: Architecture) -> ExpectedResult {
        let linears: ExpectedResult.Linears
        switch job {
        case ModelJob.quantize.rawValue: linears = .integers
        case ModelJob.ptq.rawValue: linears = .ternary
        case ModelJob.qat.rawValue where qat.method == .ternary: linears = .ternary
        case ModelJob.train.rawValue: linears = .floats
        default: linears = QuantizationRecipe(self, architecture).weights == nil ? .floats : .integers
        }
        let bits = ([quantization.weights.bits] + quantization.overrides.entries.map(\.bits)).min()
        let rotates = rotation.path != nil || rotation.r1 != .none || rotation.r2 != .none
        return ExpectedResult(
            linears: linears, integerBits: bits, hasRotations: job == ModelJob.rotate.rawValue && rotates)
    }
}
