internal import Quantization
internal import TensorCore

/// A matrix of 32-bit floats, row by row.
public struct Matrix: Sendable, Equatable {
    public let rows: Int
    public let columns: Int
    /// Element (i, j) is at i·columns + j.
    public let elements: [Float]

    /// - Precondition: rows·columns elements.
    public init(_ elements: [Float], rows: Int, columns: Int) {
        precondition(rows >= 0 && columns >= 0 && elements.count == rows * columns, "\(elements.count) for \(rows)×\(columns)")
        (self.rows, self.columns, self.elements) = (rows, columns, elements)
    }

    public subscript(row: Int, column: Int) -> Float {
        precondition((0..<rows).contains(row) && (0..<columns).contains(column), "(\(row), \(column)) of \(rows)×\(columns)")
        return elements[row * columns + column]
    }

    /// The same with the lowest `bits` of the 23 fraction bits of every number set to 0: numbers of 32 − `bits` bits, rounded
    /// towards 0.
    ///
    /// - Throws: ``SQTrainError`` for other than 0 to 23 bits.
    public func truncated(bits: Int) throws(SQTrainError) -> Matrix {
        guard (0...23).contains(bits) else {
            throw SQTrainError(description: "bits is \(bits); a fraction has 0 to 23 to set to 0", exitCode: 78)
        }
        return Matrix(truncatedMantissa(tensor, bits: bits))
    }

    init(_ tensor: Tensor) { self.init(tensor.elements, rows: tensor.rows, columns: tensor.columns) }

    var tensor: Tensor { Tensor(elements, [rows, columns]) }
}
