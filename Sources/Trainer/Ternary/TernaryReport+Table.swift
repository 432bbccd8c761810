package import Support
package import TernarySVD

extension TernaryReport {
    /// Components, cost and error of each ternary layer; counts are per token.
    package var table: Table {
        let names = LayerNames(layers.map(\.name))
        let products = "multipli\(Table.softHyphen)cations"
        var table = Table(columns: [names.head, "shape", "components", products, "additions", "dense", "relative error"])
        for layer in layers {
            let factors = layer.factors
            let (m, n) = (factors.u.rows, factors.v.columns)
            table.add([
                names.short(layer.name), "\(m)×\(n)", "\(factors.componentCount)", "\(factors.multiplications)",
                "\(factors.additions)",
                "\(m * n)",
                layer.relativeError.formatted(decimals: 4),
            ])
        }
        table.add([
            "all linear layers", "", "", "\(operations.multiplications)", "\(operations.additions)",
            "\(denseOperations.multiplications)", "",
        ])
        return table
    }

    /// The totals in a line.
    package var cost: String { Self.cost(ternary: operations, dense: denseOperations) }

    /// Operations a token of both models in a sentence, and their ratio.
    package static func cost(ternary: OperationCount, dense: OperationCount) -> String {
        "per token \(ternary.additions) additions and \(ternary.multiplications) multiplications instead of "
            + "\(dense.multiplications) of each"
    }
}
