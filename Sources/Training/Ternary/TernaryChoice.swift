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
    /// The linear layers' weights that a pattern names, in the checkpoint's order; the head is none of them.
    ///
    /// - Throws: ``ConfigurationError`` where it names none.
    package func linears(matching pattern: LayerPattern) throws(ConfigurationError) -> [Int] {
        let chosen = names.indices.reversed().filter { isLinear($0) && pattern.matches(layerName($0)) }
        guard !chosen.isEmpty else {
            let example = names.indices.last { isLinear($0) }.map { "; a linear layer's name is such as \(layerName($0))" } ?? ""
            throw ConfigurationError("ternary.layers", "'\(pattern.settingText)' names no linear layer of the model\(example)")
        }
        return chosen
    }

    /// The name of a weight's layer.
    package func layerName(_ index: Int) -> String { String(names[index].dropLast(".weight".count)) }
}
