package import Configuration
package import Models
internal import TensorCore
package import TernarySVD

extension TernarySettings {
    /// How layers are projected in training.
    package func transition(seed: Int) throws(TernaryError) -> LayerTransition {
        try LayerTransition(options(seed: seed), pruneRate: pruneRate.map { Float($0) })
    }

    /// Whether U and V are ever adapted to the weights.
    var followsWeights: Bool { adaptEvery > 0 && mode == .default }

    /// Whether a step, counted from 1, adapts U and V.
    func adapts(atStep step: Int) -> Bool { followsWeights && step % adaptEvery == 0 }
}

extension LayerPattern {
    /// The layers that the patterns name, except those too small to decompose.
    ///
    /// - Throws: ``ConfigurationError`` for a pattern that names no layer.
    package func choose(among linears: [LinearShape]) throws(ConfigurationError) -> [LinearShape] {
        let linears = linears.filter { !TernaryDecomposition.isTooSmall($0.shape) }
        for pattern in parts where !linears.contains(where: { pattern.matches($0.name) }) {
            let example = linears.first.map { "; the name of one is \($0.name)" } ?? ""
            throw ConfigurationError(
                "ternary.layers", "'\(pattern.settingText)' matches no linear layer of the model\(example)")
        }
        return linears.filter { matches($0.name) }
    }
}

extension ModelWeights {
    /// The linear layers, in the checkpoint's order.
    package var linears: [LinearShape] {
        names.indices.reversed().filter(isLinear).map { LinearShape(name: layerName($0), shape: self[$0].shape) }
    }

    /// The linear layers' weights that a choice of patterns names, in the checkpoint's order, without the head and without
    /// layers too small to decompose.
    ///
    /// - Parameter model: the layers of the whole model, where these are a stage's, since a pattern may name only other stages'
    ///   layers.
    /// - Throws: ``ConfigurationError`` for a pattern that names no layer of the model.
    package func linears(matching choice: LayerPattern, of model: [LinearShape]? = nil) throws(ConfigurationError) -> [Int] {
        let chosen = Set(try choice.choose(among: model ?? linears).map(\.name))
        return names.indices.reversed().filter { isLinear($0) && chosen.contains(layerName($0)) }
    }

    /// The name of a weight's layer.
    package func layerName(_ index: Int) -> String { String(names[index].dropLast(".weight".count)) }
}

extension [String: TernaryFactors] {
    /// Checks that each belongs to a linear layer of a model.
    ///
    /// - Parameter file: the file's name in the error.
    /// - Throws: ``TernaryError`` (data).
    package func check(against linears: [LinearShape], file: String) throws(TernaryError) {
        let shapes = [String: [Int]](uniqueKeysWithValues: linears.map { ($0.name, $0.shape) })
        for (name, layer) in sorted(by: { $0.key < $1.key }) {
            guard shapes[name] == [layer.u.rows, layer.v.columns] else {
                throw TernaryError(
                    .data,
                    "\(file): layer \(name) is \(layer.u.rows)×\(layer.v.columns), and the model has none of that name and "
                        + "shape"
                )
            }
            guard layer.form == "linear" else {
                throw TernaryError(.data, "\(file): layer \(name) has the form '\(layer.form)', and in the model it is linear")
            }
        }
    }
}
