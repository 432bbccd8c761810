internal import Quantization
internal import TensorCore

/// A matrix in 8 bits but for the columns whose inputs are large, which stay floats (LLM.int8(), arXiv 2208.07339).
public struct OutlierMatrix: Sendable {
    private let split: OutlierSplit
    public let rows: Int
    public let columns: Int

    /// - Parameters:
    ///   - inputMaxima: max|x_j| of each column's inputs.
    ///   - threshold: columns with as much or more stay floats; the published one is 6.
    /// - Throws: ``SQTrainError`` for another number of maxima than columns, and for a matrix that is not finite.
    public init(_ matrix: Matrix, inputMaxima: [Float], threshold: Float = 6) throws(SQTrainError) {
        guard inputMaxima.count == matrix.columns else {
            throw SQTrainError(description: "\(inputMaxima.count) maxima for \(matrix.columns) columns", exitCode: 78)
        }
        guard matrix.elements.allSatisfy(\.isFinite) else {
            throw SQTrainError(description: "the matrix holds NaN or infinity", exitCode: 78)
        }
        split = OutlierSplit(matrix.tensor, inputMaxima: inputMaxima, threshold: threshold)
        (rows, columns) = (matrix.rows, matrix.columns)
    }

    /// The columns that stay floats, ascending.
    public var outliers: [Int] { split.outliers }

    /// x·Wᵀ for the rows of x, of which all but the outliers are rounded to 8 bits, a scale for each row: `[x.rows, rows]`.
    ///
    /// - Precondition: as many columns as W has.
    public func product(_ x: Matrix) -> Matrix {
        precondition(x.columns == columns, "rows of \(x.columns) for \(rows)×\(columns)")
        return Matrix(split.product(x.tensor))
    }
}
