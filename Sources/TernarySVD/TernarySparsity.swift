package import TensorCore

/// How many of a factor's neighbors may be non-zeros (`ternary.sparsity`).
///
/// Neighbors are four adjacent entries along the axis that a product sums over: of a row of U or V, counted from its beginning.
/// The remaining entries at a row's end are neighbors, too.
package enum TernarySparsity: String, Sendable, CaseIterable {
    case none
    /// At most two of four.
    case twoOfFour = "2:4"

    /// The number of neighbors, and the most non-zeros among them.
    static let (neighbors, most) = (4, 2)

    /// Whether the rows of a matrix satisfy it.
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

    /// Whether U and V satisfy it.
    package func holds(_ factors: TernaryFactors) -> Bool {
        self == .none || holds(factors.u.unpacked) && holds(factors.v.unpacked)
    }
}
