package import TensorCore

/// Signed integers with s = max|w|/(2^(b−1)−1) of each group, and nothing clipped.
package struct AbsMax: WeightQuantization {
    package static let name = "absmax"
    package let inputs: InputStatistics.Depth? = nil

    package init() {}

    package func quantize(
        _ weights: [Tensor], _ statistics: InputStatistics?, _ quantizer: WeightQuantizer
    ) throws -> [QuantizedWeight] {
        try check(weights, quantizer.spec)
        let spec = QuantizerSpec(bits: quantizer.spec.bits, symmetric: true, granularity: quantizer.spec.granularity)
        return weights.map(WeightQuantizer(spec).quantized)
    }
}
