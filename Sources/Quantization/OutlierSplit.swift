internal import LinearAlgebra
package import TensorCore

/// A linear layer in 8 bits, except for the few input channels that are large (Dettmers et al., LLM.int8(), arXiv 2208.07339).
///
/// Channels with max|x_j| ≥ `threshold` stay in high precision. For the others, weights have a scale per row and inputs one per
/// token (vector-wise absmax): y = x_O·W_Oᵀ + (s_x·s_wᵀ)∘(q_x·q_wᵀ).
package struct OutlierSplit: Sendable {
    /// The published threshold.
    package static let threshold: Float = 6

    /// Channels in high precision, ascending.
    package let outliers: [Int]
    /// All others, ascending.
    package let regular: [Int]
    /// `[out, outliers]`.
    package let outlierWeight: Tensor
    /// The weight's columns `regular` in integers; nil where all channels are outliers.
    package let quantized: QuantizedWeight?
    private let dequantized: Tensor?

    /// - Parameter inputMaxima: max|x_j| over the calibration text.
    /// - Precondition: a weight `[out, in]`, as many maxima as columns.
    package init(_ weight: Tensor, inputMaxima: [Float], threshold: Float = threshold) {
        precondition(weight.columns == inputMaxima.count, "\(inputMaxima.count) maxima for a weight \(weight.shape)")
        // A maximum that is NaN does not count as small.
        outliers = inputMaxima.indices.filter { !(inputMaxima[$0] < threshold) }
        regular = inputMaxima.indices.filter { inputMaxima[$0] < threshold }
        outlierWeight = Self.columns(outliers, of: weight)
        quantized = regular.isEmpty ? nil : WeightQuantizer(Self.weights).quantized(Self.columns(regular, of: weight))
        dequantized = quantized?.dequantized()
    }

    private static let weights = QuantizerSpec(bits: 8, symmetric: true, granularity: .channel)
    private static let inputs = QuantizerSpec(bits: 8, symmetric: true, granularity: .token)

    /// y `[tokens, out]` of x `[tokens, in]`.
    package func product(_ x: Tensor) -> Tensor {
        var y = Tensor(zeros: [x.rows, outlierWeight.shape[0]])
        if !outliers.isEmpty { matmul(Self.columns(outliers, of: x), .asStored, outlierWeight, .transposed, into: &y) }
        guard let dequantized else { return y }
        let rounded = fakeQuantized(Self.columns(regular, of: x), Self.inputs)
        matmul(rounded, .asStored, dequantized, .transposed, beta: 1, into: &y)
        return y
    }

    private static func columns(_ chosen: [Int], of matrix: Tensor) -> Tensor {
        var result = Tensor(uninitialized: [matrix.rows, chosen.count])
        let (target, source) = (result.mutablePointer, matrix.pointer)
        for row in 0..<matrix.rows {
            for (place, column) in chosen.enumerated() {
                target[row * chosen.count + place] = source[row * matrix.columns + column]
            }
        }
        return result
    }
}
