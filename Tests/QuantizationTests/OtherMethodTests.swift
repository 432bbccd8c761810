import LinearAlgebra
import TensorCore
import TestSupport
import Testing

@testable import Quantization

@Suite struct OtherMethodTests {
    @Test(arguments: [8, 4]) func `absmax and zero-point integers are within half a step, per tensor, row, column and group`(
        _ bits: Int
    ) throws {
        var random = RandomStream(seed: 61)
        let weight = Tensor(normal: [12, 32], from: &random)
        for granularity in [QuantizerGranularity.tensor, .channel, .column, .group(8)] {
            let quantizer = WeightQuantizer(QuantizerSpec(bits: bits, symmetric: true, granularity: granularity))
            let absMax = try AbsMax().quantize(weight, nil, quantizer)
            let zeroPoint = try ZeroPoint().quantize(weight, nil, quantizer)
            let levels = Int16(1 << (bits - 1)) - 1
            #expect(absMax.codes.allSatisfy { abs($0) <= levels } && absMax.codes.contains { abs($0) == levels })
            #expect(zeroPoint.codes.allSatisfy { (0...2 * levels + 1).contains($0) })
            #expect(zeroPoint.zeros.elements.allSatisfy { (0...Float(2 * levels + 1)).contains($0) })
            for result in [absMax, zeroPoint] {
                let largest = result.scales.elements.max() ?? 0
                // Zero points are rounded themselves: another half step at the ends.
                #expect(maxDifference(result.dequantized(), weight) <= largest * 1.001)
            }
        }
    }

    @Test func `a zero point keeps 0, whatever the group`() throws {
        let weight = Tensor([0, 3, 4, 5, -2, -6, -7, 0], [2, 4])
        for granularity in [QuantizerGranularity.channel, .group(2), .tensor] {
            let quantizer = WeightQuantizer(QuantizerSpec(bits: 4, symmetric: true, granularity: granularity))
            let result = try ZeroPoint().quantize(weight, nil, quantizer).dequantized()
            #expect(result[0, 0] == 0 && result[1, 3] == 0)
        }
    }

    @Test func `smoothing follows its formula and leaves the product as it was`() {
        var random = RandomStream(seed: 62)
        var x = Tensor(normal: [20, 6], from: &random)
        for t in 0..<20 {
            x[t, 2] *= 50
            x[t, 4] = 0
        }
        let weights = [Tensor(normal: [5, 6], from: &random), Tensor(normal: [3, 6], from: &random)]
        let maxima = (0..<6).map { j in (0..<20).map { abs(x[$0, j]) }.max() ?? 0 }
        let smooth = SmoothQuant(inputMaxima: maxima, weights: weights, strength: 0.75)
        for j in 0..<6 {
            let weightMaximum = weights.flatMap { w in (0..<w.rows).map { abs(w[$0, j]) } }.max() ?? 0
            let (input, weight) = (Double(maxima[j]).squareRoot(), Double(weightMaximum).squareRoot())
            let expected = j == 4 ? 1 : input * input.squareRoot() / weight.squareRoot()
            #expect(abs(Double(smooth.scales[j]) - expected) < 1e-5 * expected)
        }
        // What makes x, divided, makes x/s: the columns of x are the rows of a producer.
        let smoothedInput = smooth.divided(x.transposed()).transposed()
        for weight in weights {
            let before = matmul(x, .asStored, weight, .transposed)
            let after = matmul(smoothedInput, .asStored, smooth.smoothed(weight), .transposed)
            #expect(relativeError(after, before) < 1e-6)
        }
        #expect(smooth.divided(Tensor(smooth.scales, [6])).elements.allSatisfy { $0 == 1 })
    }

    @Test func `channels of 6 and more stay in high precision`() {
        var random = RandomStream(seed: 63)
        let weight = Tensor(normal: [24, 40], from: &random)
        var x = Tensor(normal: [30, 40], from: &random)
        for t in 0..<30 {
            x[t, 11] *= 60
            for j in 0..<40 where j != 11 { x[t, j] = max(-5.9, min(5.9, x[t, j])) }
        }
        x[0, 7] = 6
        let maxima = (0..<40).map { j in (0..<30).map { abs(x[$0, j]) }.max() ?? 0 }
        let split = OutlierSplit(weight, inputMaxima: maxima)
        #expect(split.outliers == [7, 11] && split.regular.count == 38 && split.quantized?.shape == [24, 38])
        let exact = matmul(x, .asStored, weight, .transposed)
        let plain = OutlierSplit(weight, inputMaxima: maxima, threshold: .infinity)
        #expect(plain.outliers.isEmpty)
        let error = relativeError(split.product(x), exact)
        // Rounding all channels on one scale loses the small ones.
        #expect(error < 0.002 && error < relativeError(plain.product(x), exact) / 3)
        let none = OutlierSplit(weight, inputMaxima: maxima, threshold: 0)
        #expect(none.quantized == nil && relativeError(none.product(x), exact) < 1e-6)
    }

    @Test func `truncation clears the lowest bits of the fraction and nothing else`() {
        let x = Tensor([1, -1.9999999, 3.1415927, 0, -0.0, .leastNonzeroMagnitude, .infinity], [7])
        #expect(truncatedMantissa(x, bits: 0).elements == x.elements)
        // Sixteen bits less are the numbers of bfloat16, towards 0.
        #expect(truncatedMantissa(x, bits: 16).elements == [1, -1.9921875, 3.140625, 0, 0, 0, .infinity])
        #expect(truncatedMantissa(x, bits: 23).elements == [1, -1, 2, 0, 0, 0, .infinity])
        #expect(truncatedMantissa(Tensor([.nan], [1]), bits: 23)[flat: 0].isNaN)
        var random = RandomStream(seed: 64)
        let values = Tensor(normal: [1000], from: &random)
        for bits in [1, 8, 13] {
            let truncated = truncatedMantissa(values, bits: bits)
            for index in 0..<values.count {
                let (value, result) = (values[flat: index], truncated[flat: index])
                #expect(result.bitPattern == (value.bitPattern >> UInt32(bits)) << UInt32(bits))
                #expect(abs(result) <= abs(value) && abs(value) - abs(result) < value.ulp * Float(1 << bits))
            }
        }
    }
}
