package import TensorCore

/// Multiplications and additions; biases are not counted.
package struct OperationCount: Sendable, Equatable {
    package var multiplications = 0
    package var additions = 0

    package init(multiplications: Int = 0, additions: Int = 0) {
        (self.multiplications, self.additions) = (multiplications, additions)
    }

    /// The sum of both.
    package static func + (a: OperationCount, b: OperationCount) -> OperationCount {
        OperationCount(multiplications: a.multiplications + b.multiplications, additions: a.additions + b.additions)
    }

    /// A dense product: `positions` outputs of `weights` multiply-adds each.
    package static func dense(weights: Int, positions: Int) -> OperationCount {
        OperationCount(multiplications: weights * positions, additions: weights * positions)
    }

    /// A dense linear layer of `[out, in]` on `tokens` tokens.
    package static func linear(_ shape: [Int], tokens: Int) -> OperationCount {
        dense(weights: shape.reduce(1, *), positions: tokens)
    }

    /// A ternary layer: `scaled` components at each of `scaledPositions`, and one addition per non-zero and position of V and
    /// of U.
    package static func ternary(
        componentCount: Int, nonzerosU: Int, positionsU: Int, nonzerosV: Int, positionsV: Int
    ) -> OperationCount {
        OperationCount(multiplications: componentCount * positionsV, additions: nonzerosU * positionsU + nonzerosV * positionsV)
    }

    /// A ternary linear layer on `tokens` tokens.
    package static func ternary(_ factors: TernaryFactors, tokens: Int) -> OperationCount {
        OperationCount(multiplications: factors.multiplications * tokens, additions: factors.additions * tokens)
    }
}

/// How many components a ternary layer may have before it costs more than the dense one it replaces.
package enum BreakEven {
    /// ((b−2)·#{w ∉ {−1, 0, 1}} + #{w ≠ 0}) / ((b−2) + (1−sparsity)·(m+n)) for operands of b bits: a b-bit product counts as b
    /// − 2 additions.
    ///
    /// - Parameters:
    ///   - weight: the layer's whole weight, all groups.
    ///   - sparsity: share of zeros in U and V.
    ///   - m, n: the shape of one group's matrix.
    package static func components(weight: Tensor, sparsity: Float, rows m: Int, columns n: Int, bits: Int = 8) -> Double {
        precondition(bits > 2, "\(bits)-bit operands")
        var (products, sums) = (0, 0)
        weight.withElements { elements in
            for w in elements {
                if w != 0 { sums += 1 }
                if w != 0, abs(w) != 1 { products += 1 }
            }
        }
        let price = Double(bits - 2)
        return (price * Double(products) + Double(sums)) / (price + Double(1 - sparsity) * Double(m + n))
    }
}
