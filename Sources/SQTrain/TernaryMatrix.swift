internal import TensorCore
internal import TernarySVD

/// A matrix as diag(a)·U·diag(s)·V·diag(b), with entries of U and V in {−1, 0, 1}, packed (TSVD, arXiv 2308.07641).
public struct TernaryMatrix: Sendable {
    private let factors: TernaryFactors

    /// Decomposes a matrix.
    ///
    /// - Parameters:
    ///   - tolerance: largest singular value of what the factors leave out, relative to the matrix's; in (0, 1).
    ///   - balanced: scale rows and columns to equal size first, which the tolerance then refers to.
    ///   - seed: of the search's random start; the same seed gives the same factors.
    /// - Throws: ``SQTrainError`` for a tolerance out of range, and for a matrix that is empty or not finite.
    public init(_ matrix: Matrix, tolerance: Float, balanced: Bool = true, seed: UInt64 = 0) throws(SQTrainError) {
        factors = try SQTrainError.translating {
            var options = TernaryOptions(tolerance: tolerance)
            (options.balance, options.seed) = (balanced, seed)
            try options.validate()
            return TernaryFactors(try TernaryDecomposition(matrix.tensor, options), tolerance: tolerance)
        }
    }

    public var rows: Int { factors.u.rows }
    public var columns: Int { factors.v.columns }
    /// Columns of U, rows of V.
    public var components: Int { factors.componentCount }
    /// Additions that a product with a vector takes.
    public var additions: Int { factors.additions }
    /// Multiplications that it takes.
    public var multiplications: Int { factors.multiplications }

    /// `[rows, components]`.
    public var u: Matrix { Matrix(factors.u.unpacked) }
    public var s: [Float] { factors.s }
    /// `[components, columns]`.
    public var v: Matrix { Matrix(factors.v.unpacked) }
    /// Scales of rows and columns; nil where the matrix was not balanced.
    public var balance: (rows: [Float], columns: [Float])? { factors.balance.map { ($0.a, $0.b) } }

    /// The matrix that the factors stand for.
    public var matrix: Matrix { Matrix(factors.unpacked()) }

    /// x·Wᵀ for the rows of x, by additions straight from the packed entries: `[x.rows, rows]`.
    ///
    /// - Precondition: as many columns as W has.
    public func product(_ x: Matrix) -> Matrix {
        precondition(x.columns == columns, "rows of \(x.columns) for \(rows)×\(columns)")
        return Matrix(factors.apply(x.tensor))
    }
}
