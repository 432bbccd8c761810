internal import Collectives
internal import Configuration
internal import HuggingFace
internal import Models
internal import Runs
internal import TernarySVD

extension LanguageModelInputs {
    /// Checks that ternary factors belong to this model, which means that its other weights are those with which they were
    /// scored. Only on rank 0, since it reads all weights.
    ///
    /// - Throws: ``OriginError``, unless `allow_mismatch`.
    func checkOrigin(ofFactors path: String?, _ model: ModelFolder, _ context: JobContext<some Communicator>) throws {
        guard let path, context.communicator.isRoot, !context.config.allowMismatch else { return }
        let origin = try TernaryFile.origin(of: path)
        guard let relation = try origin.mismatch(with: model) else { return }
        throw OriginError(file: path, model: model.path, relation: relation)
    }
}

extension LanguageModelRun {
    /// Notes where ternary factors are, or may be, used with another model's other weights. Collective.
    func noteOrigin(ofFactors path: String?) throws {
        guard let path else { return }
        let context = context
        try context.communicator.agree {
            guard context.communicator.isRoot else { return }
            let origin = try TernaryFile.origin(of: path)
            if origin == TernaryFile.Origin() {
                context.reporter.note("note: \(path) does not say which model its factors belong to")
            } else if let relation = try context.config.eval.trained == nil ? origin.mismatch(with: inputs.folder) : nil {
                context.reporter.note(
                    "note: the factors of \(path) \(relation) other weights than those of \(inputs.folder.path)")
            }
        }
    }
}

extension TernaryFile.Origin {
    /// The relation of factors to a model that they do not belong to, for ``OriginError``; nil where they belong to it, or do
    /// not say.
    fileprivate func mismatch(with model: ModelFolder) throws -> String? {
        guard source != nil || !targets.isEmpty else { return nil }
        let digest = try model.checkpoint.digest()
        if targets.isEmpty { return source == digest ? nil : "were made from" }
        return targets.contains(digest) ? nil : source == digest ? "were trained together with" : "belong to"
    }
}
