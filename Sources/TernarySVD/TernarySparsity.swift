package import TensorCore

/// How many of a factor's neighbors may be non-zeros (`ternary.sparsity`).
///
/// Neighbors stand beside each other along the axis that a product sums over: four entries of a row of U or V, from its
/// beginning. What is left at a row's end are neighbors, too.
package enum TernarySparsity: String, Sendable, CaseIterable {
    case none
    /// At most two of four.
    case twoOfFour = "2:4"

    /// Entries that are neighbors, and non-zeros among them at most.
    static let (neighbors, most) = (4, 2)

    /// Whether the rows of a matrix keep to it.
    package func holds(_ matrix: Tensor) -> Bool {
        let n = matrix.columns
        guard self == .twoOfFour, n > 0 else { return true }
        return matrix.withElements { entries in
            stride(from: 0, to: entries.count, by: n).allSatisfy { row in
                stride(from: 0, to: n, by: Self.neighbors).allSatisfy { first in
                    (row + first..<row + min(n, first + Self.neighbors)).count { entries[$0] != 0 } <= Self.most
                }
            }
        }
    }

    /// Whether U and V keep to it.
    package func holds(_ factors: TernaryFactors) -> Bool {
        self == .none || holds(factors.u.unpacked) && holds(factors.v.unpacked)
    }
}
