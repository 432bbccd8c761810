internal import TensorCore
package import TernarySVD

extension TernarySettings {
    /// How `ternary.*` says that a matrix is decomposed. The reference mode is the published algorithm: it neither balances nor
    /// refines.
    package func options(seed: Int) -> TernaryOptions {
        var options = TernaryOptions(tolerance: Float(tolerance), mode: mode == .reference ? .reference : .fast)
        options.threshold = Float(threshold)
        options.rounds = rounds
        options.refinement = refinement && mode == .standard
        options.balance = balance && mode == .standard
        options.seed = UInt64(seed)
        return options
    }

    /// How layers are projected in training.
    ///
    /// With the published rate nearly every component of a fresh decomposition counts as weak, and each step decomposes anew; where
    /// U and V follow the weights (`ternary.adapt_every`), none needs to be dropped.
    package func transition(seed: Int) throws(TernaryError) -> LayerTransition {
        try LayerTransition(options(seed: seed), pruneRate: Float(pruneRate ?? (mode == .reference ? 5 : 0)))
    }

    /// Whether a step, counted from 1, adapts U and V.
    func adapts(atStep step: Int) -> Bool { adaptEvery > 0 && mode == .standard && step % adaptEvery == 0 }
}

extension ModelWeights {
    /// The linear layers' weights that a choice of patterns names, in the checkpoint's order. The head is none of them, nor is a
    /// layer too small to decompose.
    ///
    /// - Throws: ``ConfigurationError`` for a pattern that names none.
    package func linears(matching choice: LayerPattern) throws(ConfigurationError) -> [Int] {
        let linears = names.indices.reversed().filter { isLinear($0) && !TernaryDecomposition.isTooSmall(self[$0].shape) }
        for pattern in choice.parts where !linears.contains(where: { pattern.matches(layerName($0)) }) {
            let example = linears.first.map { "; the name of one is \(layerName($0))" } ?? ""
            throw ConfigurationError("ternary.layers", "'\(pattern.settingText)' names no linear layer of the model\(example)")
        }
        return linears.filter { choice.matches(layerName($0)) }
    }

    /// The name of a weight's layer.
    package func layerName(_ index: Int) -> String { String(names[index].dropLast(".weight".count)) }
}
