package import TensorCore

/// Integers from 0 with s = (max − min)/(2^b−1) and a zero point, of each group's range widened to contain 0; nothing is
/// clipped, and 0 stays 0.
package struct ZeroPoint: WeightQuantization {
    package static let name = "zero-point"
    package let inputs: InputStatistics.Depth? = nil

    package init() {}

    package func quantize(
        _ weights: [Tensor], _ statistics: InputStatistics?, _ quantizer: WeightQuantizer
    ) throws -> [QuantizedWeight] {
        try check(weights, quantizer.spec)
        let spec = QuantizerSpec(
            bits: quantizer.spec.bits, symmetric: false, granularity: quantizer.spec.granularity, includesZero: true)
        return weights.map(WeightQuantizer(spec).quantized)
    }
}
