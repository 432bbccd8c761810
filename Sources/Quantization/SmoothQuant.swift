internal import Glibc
package import TensorCore

/// Moves the difficulty of quantization from a layer's inputs to its weights (Xiao et al., arXiv 2211.10438): x ← x/s, W ←
/// W·diag(s) with s_j = max|x_j|^a / max|W_j|^(1−a). The product is unchanged, and channels with large inputs shrink.
package struct SmoothQuant: Sendable, Equatable {
    /// s, one per input channel, all positive.
    package let scales: [Float]

    /// - Parameters:
    ///   - inputMaxima: max|x_j| over the calibration text, for the inputs that all `weights` read.
    ///   - weights: each `[out, in]`; max|W_j| is over the rows of all of them.
    ///   - strength: a, from 0 (the difficulty stays with the inputs) to 1.
    ///
    /// A channel whose input or weights are all 0 keeps s = 1.
    /// - Precondition: 0 ≤ strength ≤ 1; as many maxima as columns.
    package init(inputMaxima: [Float], weights: [Tensor], strength: Double = 0.5) {
        precondition((0...1).contains(strength), "a strength of \(strength)")
        precondition(weights.allSatisfy { $0.columns == inputMaxima.count }, "weights \(weights.map(\.shape))")
        var weightMaxima = [Float](repeating: 0, count: inputMaxima.count)
        for weight in weights {
            for row in 0..<weight.rows {
                for j in weightMaxima.indices { weightMaxima[j] = max(weightMaxima[j], abs(weight[row, j])) }
            }
        }
        scales = zip(inputMaxima, weightMaxima).map { input, weight in
            let scale = Float(pow(Double(input), strength) / pow(Double(weight), 1 - strength))
            return input > 0 && weight > 0 && scale > 0 && scale.isFinite ? scale : 1
        }
    }

    /// W·diag(s).
    package func smoothed(_ weight: Tensor) -> Tensor {
        var result = weight.copy()
        let target = result.mutablePointer
        for row in 0..<weight.rows { for j in scales.indices { target[row * scales.count + j] *= scales[j] } }
        return result
    }

    /// A parameter that produces the inputs, divided by s: a norm's gain or shift `[in]`, or the rows and biases of a layer
    /// `[in, …]`.
    package func divided(_ producer: Tensor) -> Tensor {
        precondition(producer.shape.first == scales.count, "\(producer.shape) makes \(scales.count) channels")
        var result = producer.copy()
        let (target, width) = (result.mutablePointer, producer.count / scales.count)
        for j in scales.indices { for i in 0..<width { target[j * width + i] /= scales[j] } }
        return result
    }
}
