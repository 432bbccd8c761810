package import TensorCore

/// Signed integers with s = max|w|/(2^(b−1)−1) for each group, without clipping.
package struct AbsMax: WeightQuantization {
    package static let name = "absmax"
    package static let label = "absmax"
    package let inputs: InputStatistics.Depth? = nil

    package init() {}

    /// `quantization.weights.symmetric=true` where the quantizer is asymmetric, or another setting that does not fit this
    /// method.
    package func conflict(with quantizer: WeightQuantizer) -> String? {
        if !quantizer.spec.symmetric { return "quantization.weights.symmetric=true" }
        return quantizer.searchesClip ? "quantization.weights.clip=none" : nil
    }

    /// The quantizer with this method's ranges.
    private func quantizer(_ given: WeightQuantizer) -> WeightQuantizer {
        let spec = given.spec
        return WeightQuantizer(
            QuantizerSpec(bits: spec.bits, symmetric: true, granularity: spec.granularity))
    }

    /// Scales of max|w|/(2^(b−1) − 1) for each group, and the nearest codes.
    package func quantize(
        _ weights: [Tensor], _ statistics: InputStatistics?, _ quantizer: WeightQuantizer
    ) throws -> [QuantizedWeight] {
        try check(weights, quantizer.spec)
        return weights.map(self.quantizer(quantizer).quantized)
    }
}
