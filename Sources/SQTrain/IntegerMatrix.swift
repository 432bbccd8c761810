internal import Quantization
internal import TensorCore

/// A matrix as integers of a few bits with scales: ŵ = (q − z)·s.
public struct IntegerMatrix: Sendable {
    /// Which elements share a scale.
    public enum Granularity: Sendable, Equatable {
        case tensor, row
        /// So many neighbors of a row.
        case group(Int)
    }

    private let weight: QuantizedWeight

    /// Rounds a matrix to nearest.
    ///
    /// - Parameters:
    ///   - bits: 2 to 8.
    ///   - symmetric: whether the range is symmetric about 0, so that all z are 0.
    ///   - searchesClip: shrink each range to where the squared error is least.
    /// - Throws: ``SQTrainError`` for other bits, for groups that do not divide a row, and for a matrix that is not finite.
    public init(
        rounding matrix: Matrix, bits: Int, granularity: Granularity = .row, symmetric: Bool = true, searchesClip: Bool = false
    ) throws(SQTrainError) {
        func refuse(_ problem: String) -> SQTrainError { SQTrainError(description: problem, exitCode: 78) }
        guard (2...8).contains(bits) else { throw refuse("bits is \(bits); give 2 to 8") }
        let shared: QuantizerGranularity
        switch granularity {
        case .tensor: shared = .tensor
        case .row: shared = .channel
        case .group(let size):
            guard size > 0, matrix.columns % size == 0 else {
                throw refuse("groups of \(size) do not divide rows of \(matrix.columns)")
            }
            shared = .group(size)
        }
        guard matrix.elements.allSatisfy(\.isFinite) else { throw refuse("the matrix holds NaN or infinity") }
        let spec = QuantizerSpec(bits: bits, symmetric: symmetric, granularity: shared)
        weight = WeightQuantizer(spec, searchesClip: searchesClip).quantized(matrix.tensor)
    }

    /// q, row by row.
    public var codes: [Int16] { weight.codes }
    /// s, one for each group in the order of the elements.
    public var scales: [Float] { weight.scales.elements }
    /// z, one for each group.
    public var zeroPoints: [Float] { weight.zeros.elements }

    /// ŵ.
    public var matrix: Matrix { Matrix(weight.dequantized()) }
}
