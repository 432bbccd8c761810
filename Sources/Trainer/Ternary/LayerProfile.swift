internal import Glibc
package import Support
package import TensorCore
package import TernarySVD

/// The operations of a model's linear layers per token, counted from their shapes, weights and factors.
package struct LayerProfile {
    /// A linear layer and its operations.
    package struct Layer {
        package let name: String
        package let shape: [Int]
        package let dense: OperationCount
        /// nil where the layer is dense.
        package let ternary: (componentCount: Int, operations: OperationCount)?
        /// See `BreakEven`.
        package let breakEven: Double
    }

    package let layers: [Layer]

    /// - Parameters:
    ///   - weights: weights of the model.
    ///   - factors: factors of its ternary layers, by name.
    ///   - threshold: threshold of the projection, for the break-even point of layers without factors.
    package init(_ weights: ModelWeights<some TensorValue>, _ factors: [String: TernaryFactors] = [:], threshold: Double) {
        layers = weights.names.indices.reversed().filter(weights.isLinear).map { index in
            let (name, weight) = (weights.layerName(index), weights[index].tensor)
            let own = factors[name]
            let sparsity = own.map(\.sparsity) ?? Float(normalProjectionSparsity(threshold: threshold))
            return Layer(
                name: name, shape: weight.shape, dense: .linear(weight.shape, tokens: 1),
                ternary: own.map { ($0.componentCount, .ternary($0, tokens: 1)) },
                breakEven: BreakEven.components(weight: weight, sparsity: sparsity, rows: weight.rows, columns: weight.columns)
            )
        }
    }

    /// Sum over the layers, all dense.
    package var dense: OperationCount { layers.reduce(OperationCount()) { $0 + $1.dense } }
    /// Sum over the layers, those with factors ternary.
    package var ternary: OperationCount { layers.reduce(OperationCount()) { $0 + ($1.ternary?.operations ?? $1.dense) } }
    private var hasFactors: Bool { layers.contains { $0.ternary != nil } }

    /// Operations per token; dense layers take as many additions as multiplications. Columns for ternary layers appear only if
    /// there are any.
    package var table: Table {
        let names = LayerNames(layers.map(\.name))
        var table = Table(
            columns: [names.head, "shape", "dense"]
                + (hasFactors ? ["ternary multipli\(Table.softHyphen)cations", "ternary additions", "components"] : []) + [
                    "break-even components"
                ])
        func add(_ name: String, _ shape: String, _ dense: OperationCount, _ ternary: [String], _ breakEven: String) {
            table.add([names.short(name), shape, "\(dense.multiplications)"] + (hasFactors ? ternary : []) + [breakEven])
        }
        for layer in layers {
            let ternary = layer.ternary.map {
                ["\($0.operations.multiplications)", "\($0.operations.additions)", "\($0.componentCount)"]
            }
            add(
                layer.name, "\(layer.shape[0])×\(layer.shape[1])", layer.dense, ternary ?? ["–", "–", "–"],
                layer.breakEven.formatted(decimals: 0))
        }
        add("all linear layers", "", dense, ["\(ternary.multiplications)", "\(ternary.additions)", ""], "")
        return table
    }
}

extension TernaryFactors {
    /// Share of zeros in U and V.
    fileprivate var sparsity: Float {
        let entries = componentCount * (u.rows + v.columns)
        return entries == 0 ? 0 : 1 - Float(additions) / Float(entries)
    }
}

/// Share of zeros in the ternary projection of a long vector of normal entries.
///
/// With the entries beyond ±t kept, their share is q = erfc(t/√2) and the cosine √(2/π)·exp(−t²/2)/√q; t falls until the cosine
/// reaches the threshold, or its maximum.
package func normalProjectionSparsity(threshold: Double) -> Double {
    var (t, best) = (8.0, 0.0)
    func share(_ t: Double) -> Double { erfc(t * 0.5.squareRoot()) }
    while t > 0 {
        let cosine = (2 / Double.pi).squareRoot() * exp(-t * t / 2) / share(t).squareRoot()
        if cosine >= threshold || cosine < best { break }
        best = cosine
        t -= 1.0 / 1024
    }
    return 1 - share(t)
}
