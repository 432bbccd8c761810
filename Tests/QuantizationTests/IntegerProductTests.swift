import LinearAlgebra
import Support
import TensorCore
import TestSupport
import Testing

@testable import Quantization

/// Products of integers, against integers added up one by one. `launch/test` runs them with each instruction set.
@Suite struct IntegerProductTests {
    /// y of each token and row; `group` columns are summed as integers.
    private func reference(_ x: Tensor, _ weight: QuantizedWeight, _ spec: QuantizerSpec, group: Int) -> [Float] {
        let (rows, columns) = (weight.shape[0], weight.shape[1])
        let perRow = weight.scales.count == 1 ? 0 : weight.scales.count / rows
        let width: Int
        switch spec.granularity {
        case .head(let size), .group(let size): width = size
        default: width = columns
        }
        let codes = weight.codes
        return (0..<x.rows).flatMap { t in
            let token = x.rows(t..<t + 1).elements
            let ranges = stride(from: 0, to: columns, by: width).map {
                RoundedRange(
                    Array(token[$0..<$0 + width]), bits: spec.bits, symmetric: spec.symmetric,
                    isFull: spec.symmetricRange == .full, includesZero: spec.includesZero, clip: spec.clipRatio)
            }
            return (0..<rows).map { r in
                IntegerReference.product(ranges, width: width, group: group, columns: columns) { column in
                    let entry = perRow == 0 ? 0 : r * perRow + column / (columns / perRow)
                    return (Int(codes[r * columns + column]), Int(weight.zeros[flat: entry]), weight.scales[flat: entry])
                }
            }
        }
    }

    private func weight(_ shape: [Int], bits: Int, symmetric: Bool, _ granularity: QuantizerGranularity) -> QuantizedWeight {
        var random = RandomStream(seed: UInt64(bits))
        return WeightQuantizer(QuantizerSpec(bits: bits, symmetric: symmetric, granularity: granularity))
            .quantized(Tensor(normal: shape, from: &random))
    }

    private func tokens(_ count: Int, _ columns: Int, seed: UInt64 = 2) -> Tensor {
        var random = RandomStream(seed: seed)
        return Tensor(normal: [count, columns], from: &random)
    }

    /// Rows and columns that fill panels, lines and steps, and that leave every remainder; every size of tile.
    @Test(arguments: [[1, 1], [3, 2], [31, 5], [33, 16], [64, 64], [70, 131], [2, 300]], [2, 3, 4, 5, 7, 8])
    func `products with whole rows are those of integers added one by one`(shape: [Int], bits: Int) throws {
        for symmetric in [true, false] {
            let weight = weight(shape, bits: bits, symmetric: symmetric, .channel)
            for spec in [
                QuantizerSpec(bits: 8, symmetric: true), QuantizerSpec(bits: 8, symmetric: true, symmetricRange: .full),
                QuantizerSpec(bits: bits), QuantizerSpec(bits: 8),
            ] {
                let product = try IntegerProduct(weight, activations: spec)
                for count in [1, 2, 3, 4, 7, 8, 12, 15, 27] {
                    let x = tokens(count, shape[1])
                    #expect(product.apply(x).elements == reference(x, weight, spec, group: shape[1]))
                }
            }
        }
    }

    @Test(arguments: [32, 64, 128, 16, 5, 1], [2, 4, 8])
    func `products with groups are sums over the groups in ascending order`(size: Int, bits: Int) throws {
        let shape = [37, size * 5]
        for symmetric in [true, false] {
            let weight = weight(shape, bits: bits, symmetric: symmetric, .group(size))
            for spec in [QuantizerSpec(bits: 8, symmetric: true), QuantizerSpec(bits: 4)] {
                let product = try IntegerProduct(weight, activations: spec)
                for count in [1, 3, 12, 13] {
                    let x = tokens(count, shape[1])
                    #expect(product.apply(x).elements == reference(x, weight, spec, group: size))
                }
            }
        }
    }

    @Test(arguments: [(32, 64, 32), (64, 32, 32), (48, 32, 16), (192, 64, 64)])
    func `heads of activations and groups of weights meet in their common divisor`(group: Int, head: Int, common: Int) throws {
        let shape = [33, 192]
        let weight = weight(shape, bits: 4, symmetric: false, group == 192 ? .channel : .group(group))
        for symmetric in [true, false] {
            let spec = QuantizerSpec(bits: 8, symmetric: symmetric, granularity: .head(head), includesZero: false)
            let x = tokens(14, 192)
            let y = try IntegerProduct(weight, activations: spec).apply(x)
            #expect(y.elements == reference(x, weight, spec, group: common))
        }
    }

    /// Within the rounding of float sums: of 256 terms, each x̂·ŵ to 2⁻²⁴.
    @Test(arguments: [(4, 8), (8, 8), (3, 4), (2, 2)])
    func `the product is the fake-quantized one`(weightBits: Int, bits: Int) throws {
        let weights: [(Bool, QuantizerGranularity)] = [(true, .channel), (false, .group(64)), (true, .tensor)]
        for (symmetric, granularity) in weights {
            let weight = weight([48, 256], bits: weightBits, symmetric: symmetric, granularity)
            for spec in [QuantizerSpec(bits: bits), QuantizerSpec(bits: bits, symmetric: true, granularity: .head(32))] {
                let x = tokens(20, 256)
                let dense = matmul(fakeQuantized(x, spec), .asStored, weight.dequantized(), .transposed)
                let y = try IntegerProduct(weight, activations: spec).apply(x)
                #expect(maxDifference(y, dense) <= 1e-5 * dense.maxMagnitude)
            }
        }
    }

    /// What 16 bits would not hold: every product as large as it gets, of either sign, in rows longer than one sum covers.
    @Test(arguments: [2, 3, 4, 8], [64, 4096, 40000])
    func `the largest codes overflow nothing`(bits: Int, columns: Int) throws {
        let (low, high) = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        var codes = [Int8](repeating: Int8(high), count: 2 * columns)
        for column in 0..<columns { codes[columns + column] = Int8(low) }
        let product = try IntegerProduct(
            codes: codes, rows: 2, columns: columns, scales: [1, 1], bits: bits,
            activations: QuantizerSpec(bits: 8, symmetric: true, clipRatio: 0.5))
        for count in [1, 2, 12] {
            for sign in [-1, 1] as [Float] {
                // Half the range is clipped: −128 and 127 of scale 1.
                let x = Tensor(repeating: 254 * sign, [count, columns])
                let code = sign < 0 ? -128 : 127
                let expected = [high, low].map { w -> Float in
                    stride(from: 0, to: columns, by: 32768).reduce(Float(0)) { $0 + Float(w * code * min(32768, columns - $1)) }
                }
                #expect(product.apply(x).elements == (0..<count).flatMap { _ in expected })
            }
        }
    }

    @Test func `codes with zero points are taken as they are numbered`() throws {
        let codes: [Int8] = [0, 15, 7, 3, 1, 2, 14, 8]
        let x = Tensor([1, -2, 3, 127], [1, 4])
        let signed = codes.map { $0 - 8 }
        let scales: [Float] = [0.5, 2, 1, 4], zeros = [3, 0, 15, 7]
        let expected: [Float] = [
            ((0 - 3) * 1 + (15 - 3) * -2) * 0.5 + (7 * 3 + 3 * 127) * 2, ((1 - 15) * 1 + (2 - 15) * -2) + (7 * 3 + 1 * 127) * 4,
        ]
        let plain = try IntegerProduct(codes: codes, rows: 2, columns: 4, scales: scales, zeros: zeros, bits: 4)
        #expect(plain.apply(x).elements == expected)
        let moved = try IntegerProduct(codes: signed, rows: 2, columns: 4, scales: scales, zeros: zeros.map { $0 - 8 }, bits: 4)
        #expect(moved.apply(x).elements == expected)
    }

    /// A range far from 0 has a zero point far from its codes, whose product passes 32 bits.
    @Test func `ranges far from 0 keep their values`() throws {
        let weight = weight([5, 64], bits: 8, symmetric: true, .channel)
        let spec = QuantizerSpec(bits: 8, granularity: .head(64), includesZero: false)
        let x = Tensor((0..<3 * 64).map { 3000 + Float($0 % 2) / 1024 }, [3, 64])
        let dense = matmul(x, .asStored, weight.dequantized(), .transposed)
        // s·z is as exact as z, a whole number of about 8·10⁸ in float32.
        let y = try IntegerProduct(weight, activations: spec).apply(x)
        #expect(maxDifference(y, dense) <= 1e-5 * 3000 * 64)
    }

    /// Weights far from 0 in their group, whose zero points no integer here holds.
    @Test(arguments: [Float(1e-6), 1e-3]) func `groups of weights too far from 0 are refused`(spread: Float) {
        let spec = QuantizerSpec(bits: 8, granularity: .group(32), includesZero: false)
        let weight = WeightQuantizer(spec).quantized(Tensor((0..<64).map { 8 + spread * Float($0 % 32) }, [1, 64]))
        do {
            _ = try IntegerProduct(weight)
            Issue.record("zero points \(weight.zeros.elements) are accepted")
        } catch { #expect(error.exitCode == .data && error.problem.contains("zero point")) }
    }

    @Test func `one rounding serves several products`() throws {
        let (first, second) = (
            try IntegerProduct(weight([9, 96], bits: 4, symmetric: true, .channel)),
            try IntegerProduct(weight([40, 96], bits: 8, symmetric: true, .channel))
        )
        let x = tokens(5, 96)
        let rounded = first.rounded(x)
        #expect(first.apply(rounded).elements == first.apply(x).elements)
        #expect(second.apply(rounded).elements == second.apply(x).elements)
    }

    @Test func `shapes are kept, and no tokens give none`() throws {
        let product = try IntegerProduct(weight([9, 96], bits: 4, symmetric: true, .channel))
        let x = tokens(6, 96)
        #expect(product.apply(x.reshaped([2, 3, 96])).shape == [2, 3, 9])
        #expect(product.apply(x.reshaped([2, 3, 96])).elements == product.apply(x).elements)
        #expect(product.apply(Tensor(zeros: [0, 96])).shape == [0, 9])
        #expect(product.apply(Tensor(zeros: [2, 96])).elements.allSatisfy { $0 == 0 })
    }

    @Test(arguments: [Float.nan, .infinity, -.infinity], [true, false])
    func `a token that is not finite has no finite product, and changes no other`(value: Float, symmetric: Bool) throws {
        let weight = weight([9, 96], bits: 4, symmetric: true, .channel)
        let spec = QuantizerSpec(bits: 8, symmetric: symmetric, granularity: .token)
        let product = try IntegerProduct(weight, activations: spec)
        for place in [0, 50, 95] {
            var x = tokens(3, 96)
            let good = product.apply(x)
            x[1, place] = value
            let bad = product.apply(x)
            #expect(bad.rows(1..<2).elements.allSatisfy { $0.isNaN })
            #expect(bad.rows(0..<1).elements == good.rows(0..<1).elements)
            #expect(bad.rows(2..<3).elements == good.rows(2..<3).elements)
        }
    }

    @Test func `what a product of integers has no form for is refused`() {
        func refusal(_ bits: Int, _ granularity: QuantizerGranularity, _ spec: QuantizerSpec) -> ExitCode? {
            let weight = weight([4, 8], bits: bits, symmetric: true, granularity)
            do { _ = try IntegerProduct(weight, activations: spec) } catch { return error.exitCode }
            return nil
        }
        let eight = IntegerProduct.eightBits
        #expect(refusal(8, .channel, eight) == nil)
        #expect(refusal(9, .channel, eight) == .configuration)
        #expect(refusal(8, .column, eight) == .configuration)
        #expect(refusal(8, .channel, QuantizerSpec(bits: 9)) == .configuration)
        #expect(refusal(8, .channel, QuantizerSpec(bits: 16)) == .configuration)
        #expect(refusal(8, .channel, QuantizerSpec(bits: 8, granularity: .tensor)) == .configuration)
        for (codes, zeros) in [([16, 0], nil), ([-9, 0], nil), ([-1, 15], [0]), ([0, 1], [40000]), ([0, 1], [-40000])]
            as [([Int8], [Int]?)]
        {
            #expect(throws: QuantizationError.self, "\(codes), \(zeros ?? [])") {
                try IntegerProduct(codes: codes, rows: 1, columns: 2, scales: [1], zeros: zeros, bits: 4)
            }
        }
    }
}
