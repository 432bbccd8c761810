internal import LinearAlgebra
package import Models
package import Support
package import TensorCore
package import TernarySVD

/// A network's ternary layers and their operations, for `summary.json`.
package struct TernaryReport {
    /// A layer's factors and their error.
    package struct Layer {
        package let name: String
        package let factors: TernaryFactors
        /// Largest singular value of the factors' residual over that of the weight, both balanced where the layer is.
        package let relativeError: Double
        /// √(tr(O·E·H·Eᵀ)/tr(O·W·H·Wᵀ)), see `OutputNorm`; nil without statistics of inputs.
        package let weightedError: Double?
        /// How often training took each branch; nil without training.
        package var branchCounts: JSONValue?

        package init(
            name: String, factors: TernaryFactors, relativeError: Double, weightedError: Double? = nil,
            branchCounts: JSONValue? = nil
        ) {
            self.name = name
            self.factors = factors
            self.relativeError = relativeError
            self.weightedError = weightedError
            self.branchCounts = branchCounts
        }
    }

    package let layers: [Layer]
    /// Operations per token of all linear layers except the head. Layers that stayed dense count as dense.
    package let operations: OperationCount
    /// Operations of the same layers if all were dense.
    package let denseOperations: OperationCount

    /// - Parameter linears: all linear layers of the model, of which `layers` are ternary.
    package init(_ layers: [Layer], of linears: [LinearShape]) {
        self.layers = layers
        let ternary = Set(layers.map(\.name))
        denseOperations = linears.reduce(OperationCount()) { $0 + .linear($1.shape, tokens: 1) }
        let remaining = linears.filter { !ternary.contains($0.name) }
        operations =
            remaining.reduce(OperationCount()) { $0 + .linear($1.shape, tokens: 1) }
            + layers.reduce(OperationCount()) { $0 + .ternary($1.factors, tokens: 1) }
    }

    /// By the layers' names.
    package var factors: [String: TernaryFactors] { Dictionary(uniqueKeysWithValues: layers.map { ($0.name, $0.factors) }) }

    /// The layers that need more additions than dense ones, the worst first.
    var costlyLayers: [Layer] {
        func excess(_ layer: Layer) -> Double {
            Double(layer.factors.additions) / Double(layer.factors.u.rows * layer.factors.v.columns)
        }
        return layers.filter { excess($0) > 1 }.sorted { excess($0) > excess($1) }
    }

    /// A warning about `costlyLayers`; nil where there are none.
    package var warning: String? {
        let costly = costlyLayers
        guard let worst = costly.first else { return nil }
        return
            "warning: \(costly.count) of \(layers.count) ternary layers need more additions than a dense one (\(worst.name): "
            + "\(worst.factors.additions) instead of \(worst.factors.u.rows * worst.factors.v.columns)); raise "
            + "ternary.tolerance or lower ternary.bits, or leave "
            + "them dense by ternary.layers"
    }

    /// Adds the stable keys.
    package func add(to results: inout JSONObject) {
        results["layers"] = .array(
            layers.map { layer in
                var object = JSONObject()
                object["name"] = .string(layer.name)
                object["shape"] = [.integer(layer.factors.u.rows), .integer(layer.factors.v.columns)]
                object["components"] = .integer(layer.factors.componentCount)
                // The name that scripts use.
                object["rank"] = object["components"]
                object["nonzeros"] = .integer(layer.factors.additions)
                object["relative_error"] = .double(layer.relativeError)
                object["weighted_error"] = layer.weightedError.map(JSONValue.double)
                object["branch_counts"] = layer.branchCounts
                return .object(object)
            })
        results["multiplications"] = .integer(operations.multiplications)
        results["additions"] = .integer(operations.additions)
        results["layers_costlier_than_dense"] = .integer(costlyLayers.count)
        results["dense_multiplications"] = .integer(denseOperations.multiplications)
    }
}

extension TernaryFactors {
    /// ‖W − U·diag(s)·V‖₂ / ‖W‖₂, both balanced where the layer is.
    package func relativeError(_ weight: Tensor) throws -> Double {
        func balanced(_ weight: Tensor) -> Tensor { balance?.applied(to: weight) ?? weight }
        let norm = try balanced(weight).spectralNorm()
        return norm > 0 ? Double(try balanced(weight - unpacked()).spectralNorm() / norm) : 0
    }
}
