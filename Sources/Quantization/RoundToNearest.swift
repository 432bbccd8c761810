package import TensorCore

/// Every weight is rounded to the nearest integer of its group's grid: code = clamp(⌊w/s⌉ + z), as in ``QuantizerSpec``.
package struct RoundToNearest: WeightQuantization {
    package static let name = "rtn"
    package static let label = "round to nearest"
    package static let isTried = true
    package let inputs: InputStatistics.Depth? = nil

    package init() {}

    /// The nearest codes. Ranges are given by the extremes, or are the shrunken ones with the least error.
    package func quantize(
        _ weights: [Tensor], _ statistics: InputStatistics?, _ quantizer: WeightQuantizer
    ) throws -> [QuantizedWeight] {
        try check(weights, quantizer.spec)
        return weights.map(quantizer.quantized)
    }
}
