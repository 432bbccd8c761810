package import TensorCore

/// Integers from 0 on with s = (max − min)/(2^b−1) and a zero point, for each group's range widened to contain 0. Nothing is
/// clipped, and 0 stays 0.
package struct ZeroPoint: WeightQuantization {
    package static let name = "zero-point"
    package static let label = "zero-point"
    package let inputs: InputStatistics.Depth? = nil

    package init() {}

    /// `quantization.weights.symmetric=false` where the quantizer is symmetric, or another setting that does not fit this
    /// method.
    package func conflict(with quantizer: WeightQuantizer) -> String? {
        if quantizer.spec.symmetric { return "quantization.weights.symmetric=false" }
        return quantizer.searchesClip ? "quantization.weights.clip=none" : nil
    }

    /// The quantizer with this method's ranges.
    private func quantizer(_ given: WeightQuantizer) -> WeightQuantizer {
        let spec = given.spec
        return WeightQuantizer(
            QuantizerSpec(bits: spec.bits, symmetric: false, granularity: spec.granularity, includesZero: true))
    }

    /// Scales of (max − min)/(2^b − 1) for each group, a zero point, and the nearest codes.
    package func quantize(
        _ weights: [Tensor], _ statistics: InputStatistics?, _ quantizer: WeightQuantizer
    ) throws -> [QuantizedWeight] {
        try check(weights, quantizer.spec)
        return weights.map(self.quantizer(quantizer).quantized)
    }
}
