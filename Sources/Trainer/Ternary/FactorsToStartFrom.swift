package import Configuration
internal import HuggingFace
package import Models
internal import Support
package import TensorCore
package import TernarySVD

/// The packed factors that training starts from (`ternary.path`), instead of a decomposition.
package struct FactorsToStartFrom {
    package let file: String
    /// Factors of the layers that become ternary.
    package let factors: [String: TernaryFactors]

    /// - Parameters:
    ///   - path: a packed file, or the folder of a run that has one.
    ///   - sparsity: the sparsity that the factors must satisfy.
    ///   - mode: mode of the transitions. The reference mode does not use scales of rows and columns and would make factors
    ///     with them worse and larger, so such factors are refused.
    ///   - choice: the layers that the file must have, if not all; its other layers stay dense.
    /// - Throws: ``ConfigurationError``, ``TernaryError``, ``FileError``.
    package init(
        path: String, _ choice: LayerPattern, keepingTo sparsity: TernarySparsity = .none,
        mode: TernaryOptions.Mode = .default, of linears: [LinearShape]
    ) throws {
        file = PathKind(path) == .folder ? "\(path)/\(RunFiles.factors)" : path
        let all = try TernaryFile.read(file)
        try all.check(against: linears, file: file)
        let chosen = try choice.choose(among: linears).map(\.name)
        if choice != .all, let missing = chosen.first(where: { all[$0] == nil }) {
            throw ConfigurationError("ternary.path", "\(file) has no factors of \(missing), which ternary.layers names")
        }
        factors = all.filter { chosen.contains($0.key) }
        guard !factors.isEmpty else {
            throw ConfigurationError("ternary.path", "\(file) has no layer that ternary.layers names")
        }
        for name in chosen where !(factors[name].map(sparsity.holds) ?? true) {
            throw ConfigurationError(
                "ternary.sparsity",
                "is \(sparsity.rawValue), and the factors of \(name) in \(file) do not keep to it; make them with it, or give "
                    + "none"
            )
        }
        guard mode == .reference else { return }
        for name in chosen where factors[name]?.balance != nil {
            throw ConfigurationError(
                "ternary.mode",
                "is reference, and the factors of \(name) in \(file) have scales of rows and columns, which that mode does not "
                    + "make; leave it out, or give factors that were made with it")
        }
    }

    /// Checks that the factors were made from this model, or belong to it. Call on rank 0 only, since it reads all weights.
    ///
    /// - Parameter allowsMismatch: whether factors of another model are accepted.
    /// - Returns: a message for the user.
    package func checkOrigin(_ model: ModelFolder, allowsMismatch: Bool) throws -> String? {
        let origin = try TernaryFile.origin(of: file)
        guard origin.source != nil || !origin.targets.isEmpty else { return nil }
        let digest = try model.checkpoint.digest()
        if origin.targets.contains(digest) { return nil }
        guard origin.source == digest else {
            let problem = "\(file) was made from another model than \(model.path)"
            if allowsMismatch { return "note: \(problem)" }
            throw ConfigurationError(
                "ternary.path",
                "\(problem); give that one, or the run's model/, as model.path, or --set allow_mismatch=true")
        }
        return origin.targets.isEmpty
            ? nil
            : "note: \(file) was trained together with norms and embedding, which \(model.path) does not have; model.path can "
                + "be the model/ beside it"
    }
}

extension ModelFolder {
    /// Checks that these weights are not themselves products of ternary factors in a file beside them.
    ///
    /// - Throws: ``ConfigurationError``.
    package func checkIsNoTernaryProduct(_ weights: ModelWeights<some TensorValue>) throws(ConfigurationError) {
        for folder in ["\(path)/..", path] {
            let file = "\(folder)/\(RunFiles.factors)"
            // A file that cannot be read says nothing about this model.
            guard PathKind(file) == .file, let factors = try? TernaryFile.read(file) else { continue }
            for index in weights.names.indices where weights.isLinear(index) {
                guard let layer = factors[weights.layerName(index)], layer.componentCount > 0 else { continue }
                guard layer.isProduct(weights[index].tensor) else { break }
                throw ConfigurationError(
                    "model.path",
                    "\(path) holds products of the ternary factors in \(file), and decomposing them again would only add "
                        + "errors; qat starts from factors with ternary.path=\(file), and else the original model is meant")
            }
        }
    }
}

extension TernaryFactors {
    /// Whether a weight is the product of the factors, up to the rounding of types that weights are stored in.
    fileprivate func isProduct(_ weight: Tensor) -> Bool {
        guard [u.rows, v.columns] == weight.shape else { return false }
        let product = unpacked()
        return (weight - product).maxMagnitude <= product.maxMagnitude / 256
    }
}
