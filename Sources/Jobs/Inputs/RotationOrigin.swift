internal import Collectives
internal import Configuration
internal import HuggingFace
internal import Models
internal import Rotation
internal import Runs
package import Support

/// An error: a file belongs to a model other than the one it is used with.
package struct OriginError: ReportableError, Equatable {
    package let file: String
    package let model: String
    /// Such as `was learned for`.
    package let relation: String

    package var exitCode: ExitCode { .data }
    package var description: String {
        "\(file): \(relation) other weights than those of \(model); give the model it belongs to, or --set allow_mismatch=true"
            .singleLine
    }
}

extension LanguageModelInputs {
    /// Checks that rotations belong to this model. Only on rank 0, since it reads all weights.
    ///
    /// - Throws: ``OriginError``, unless `allow_mismatch`.
    func checkOrigin(ofRotations path: String?, _ context: JobContext<some Communicator>) throws {
        guard let path, context.communicator.isRoot else { return }
        let metadata = try RotationMetadata(of: path)
        guard let digest = metadata.modelDigest, try digest != folder.checkpoint.digest(), !context.config.allowMismatch else {
            return
        }
        throw OriginError(file: path, model: folder.path, relation: "was learned for")
    }
}

extension LanguageModelRun {
    /// Notes where rotations are used for something other than they were learned for. Collective.
    func noteOrigin(ofRotations path: String?) throws {
        guard let path else { return }
        let world = context.communicator
        try world.agree {
            guard world.isRoot else { return }
            let metadata = try RotationMetadata(of: path)
            if metadata.isEmpty {
                context.reporter.note(
                    "note: \(path) does not say what it was learned for; bits, r3 and r4 are those of the settings, and the "
                        + "model is not checked"
                )
            }
            if let model = metadata.modelDigest, try model != inputs.folder.checkpoint.digest() {
                context.reporter.note("note: \(path) was learned for a model with other weights than \(inputs.folder.path)")
            }
            for other in metadata.differences(context.config) {
                context.reporter.note(
                    "note: \(path) was learned for \(other.setting) \(other.learned) and is used for \(other.used)")
            }
        }
    }
}
