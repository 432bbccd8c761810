import TensorCore
import Testing

@testable import Quantization

/// Codes at rest.
@Suite struct CompactCodesTests {
    @Test(arguments: [(-8, 7), (0, 15), (1, 16), (-128, 127), (0, 255), (-1, 255), (-8192, 8191)])
    func `codes come back as they were, and small ones take little`(_ least: Int, _ most: Int) {
        for count in [0, 1, 2, 7, 4097] {
            var codes = (0..<count).map { Int16(least + $0 * 37 % (most - least + 1)) }
            if count > 1 { (codes[0], codes[count - 1]) = (Int16(least), Int16(most)) }
            let compact = CompactCodes(codes)
            #expect(compact.all == codes)
            if count > 1 {
                let wide = most - least < 16 ? (count + 1) / 2 : most - least < 256 ? count : 2 * count
                #expect(compact.byteCount == wide)
            }
            guard count > 5 else { continue }
            var some = [Int16](repeating: 0, count: 3)
            compact.copy(2..<5, to: &some)
            #expect(some == Array(codes[2..<5]))
        }
    }

    /// An odd number of weights a group: groups begin in the middle of a byte.
    @Test(arguments: [QuantizerGranularity.tensor, .channel, .column, .group(9)])
    func `integers stand for the floats of fake quantization`(_ granularity: QuantizerGranularity) {
        var random = RandomStream(seed: 5)
        for (bits, symmetric) in [(2, true), (3, false), (4, true), (8, false), (11, true)] {
            let weight = Tensor(normal: [37, 261], from: &random)
            let quantizer = WeightQuantizer(QuantizerSpec(bits: bits, symmetric: symmetric, granularity: granularity))
            #expect(quantizer.quantized(weight).dequantized().elements == quantizer.fakeQuantized(weight).elements)
        }
    }
}
