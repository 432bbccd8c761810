import LinearAlgebra
import TensorCore
import TestSupport
import Testing

@testable import Quantization

/// Integers times floats, as generation multiplies them.
@Suite struct CodeMatrixTests {
    private func weight(_ rows: Int, _ columns: Int, _ spec: QuantizerSpec, seed: UInt64 = 7) -> QuantizedWeight {
        var random = RandomStream(seed: seed)
        return WeightQuantizer(spec).quantized(Tensor(normal: [rows, columns], from: &random))
    }

    @Test(
        arguments: [
            (QuantizerGranularity.channel, 96), (.tensor, 32), (.group(32), 160), (.group(64), 128), (.group(96), 192),
        ],
        [2, 3, 4, 5, 8])
    func `products are those of the floats that the codes stand for`(_ form: (QuantizerGranularity, Int), bits: Int) throws {
        var random = RandomStream(seed: 8)
        for symmetric in [true, false] {
            let weight = weight(37, form.1, QuantizerSpec(bits: bits, symmetric: symmetric, granularity: form.0))
            let held = try #require(CodeMatrix(weight))
            let floats = weight.dequantized()
            #expect(held.tensor.elements == floats.elements)
            #expect(held.rows(at: [36, 0]).elements == floats.rows(36..<37).elements + floats.rows(0..<1).elements)
            for tokens in [1, 3, 4, 5, 40] {
                let x = Tensor(normal: [tokens, form.1], from: &random)
                let expected = matmul(x, .asStored, floats, .transposed)
                #expect(held.product(x).shape == expected.shape)
                #expect(maxDifference(held.product(x), expected) < 2e-5 * expected.maxMagnitude, "\(tokens) tokens")
            }
        }
    }

    /// Groups that end within 32 columns, or whose columns lie apart, have no form.
    @Test func `what the kernels cannot read is not taken`() {
        #expect(CodeMatrix(weight(4, 48, QuantizerSpec(bits: 4, symmetric: true, granularity: .channel))) == nil)
        #expect(CodeMatrix(weight(4, 64, QuantizerSpec(bits: 4, symmetric: true, granularity: .group(16)))) == nil)
        #expect(CodeMatrix(weight(4, 64, QuantizerSpec(bits: 4, symmetric: true, granularity: .column))) == nil)
    }

    /// What a product with one token reads.
    @Test(arguments: [(3, 4), (4, 4), (5, 8), (8, 8)]) func `codes rest in 4 or in 8 bits`(_ bits: Int, held: Int) throws {
        let matrix = try #require(
            CodeMatrix(weight(64, 128, QuantizerSpec(bits: bits, symmetric: true, granularity: .channel))))
        #expect(matrix.byteCount == 64 * 128 * held / 8 + 2 * 4 * 64)
    }

    @Test(arguments: [QuantizerGranularity.channel, .group(8), .tensor, .column, .group(3)])
    func `rows are looked up without the rest`(_ granularity: QuantizerGranularity) {
        let weight = weight(9, 24, QuantizerSpec(bits: 8, symmetric: false, granularity: granularity))
        let floats = weight.dequantized()
        let expected = [8, 2, 2].flatMap { floats.rows($0..<$0 + 1).elements }
        #expect(weight.rows(at: [8, 2, 2]).elements == expected)
    }
}
