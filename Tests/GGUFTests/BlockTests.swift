import HuggingFace
import Support
import TensorCore
import TestSupport
import Testing

@testable import GGUF

/// Bytes of the encodings. Those of Q4_0, Q4_1 and Q8_0 are what `quantize` of the Python package gguf 0.19.0 gives.
@Suite struct BlockTests {
    /// ((37·i mod 64) − 31)/8.
    private static let row = Tensor((0..<32).map { Float($0 * 37 % 64 - 31) / 8 }, [1, 32])
    private static let scaled = Tensor(row.elements.map { $0 * 1.37 }, [1, 32])

    private static func bytes(_ hexadecimal: String) -> [UInt8] {
        let digits = Array(hexadecimal)
        return stride(from: 0, to: digits.count, by: 2).compactMap { UInt8(String(digits[$0...$0 + 1]), radix: 16) }
    }

    private static func decoded(_ bytes: [UInt8], _ encoding: GGUFEncoding) -> Tensor {
        var tensor = Tensor(uninitialized: [bytes.count / encoding.blockSize * encoding.blockLength])
        encoding.decode(bytes, into: tensor.mutablePointer, count: tensor.count)
        return tensor
    }

    @Test(arguments: [
        (GGUFEncoding.q4_0, false, "00b8cf379d047be248bf269df36ad148ae15", [-3.5, 0.5, -2.5, 2] as [Float]),
        (.q4_0, true, "7bb9cf379d047be248bf269df36ad148ae15", [-4.79541, 0.6850586, -3.425293, 2.7402344]),
        (
            .q8_0, false, "08288518ad40d467fc9124b94be073089d30c457ec7f14a93cd063f88d20b547dc6f",
            [-3.8737793, 0.7558594, -2.6140137, 2.015625]
        ),
        (
            .q8_0, true, "86298518ad40d467fc9124b94be073089d30c457ec7f14a93cd063f88d20b547dc6f",
            [-5.307678, 1.0356445, -3.581604, 2.7617188]
        ),
    ])
    func `a block has the bytes that ggml's own package writes`(
        encoding: GGUFEncoding, isScaled: Bool, expected: String, first: [Float]
    ) throws {
        let bytes = try encoding.encode(isScaled ? Self.scaled : Self.row, 0..<32)
        #expect(bytes == Self.bytes(expected))
        #expect(Array(Self.decoded(bytes, encoding).elements.prefix(4)) == first)
    }

    @Test func `a block of Q4_1 is read as ggml's own package reads it`() {
        let bytes = Self.bytes("c1394fc540d962fb952eb751da730c953ec851ea")
        let expected: [Float] = [-5.3085938, 1.1645508, -3.8701172, 2.6030273]
        #expect(Array(Self.decoded(bytes, .q4_1).elements.prefix(4)) == expected)
    }

    /// q[i] = i mod 3 begins 18 61 86; the scale 0.5 is 00 38.
    @Test func `a block of TQ2_0 holds two halves of 128 in two bits each, then the scale`() throws {
        let row = Tensor((0..<256).map { Float($0 % 3 - 1) / 2 }, [1, 256])
        let bytes = try GGUFEncoding.tq2_0.encode(row, 0..<256)
        #expect(bytes.count == 66)
        #expect(bytes.prefix(3) == [0x18, 0x61, 0x86])
        #expect(bytes.suffix(2) == [0x00, 0x38])
        #expect(Self.decoded(bytes, .tq2_0).elements == row.elements)
    }

    @Test func `TQ2_0 refuses a block that one scale does not make exactly`() {
        for (index, value, reason) in [(70, 0.25 as Float, "not one scale"), (3, 0.1, "no exact half-precision form")] {
            var elements = [Float](repeating: 0, count: 512)
            if index == 70 { elements[256] = 0.5 }
            elements[256 + index] = value
            do {
                _ = try GGUFEncoding.tq2_0.encode(Tensor(elements, [2, 256]), 0..<512)
                Issue.record("\(value) was encoded")
            } catch {
                #expect(error.problem.contains(reason), "\(error)")
                #expect(index != 70 || error.index == 326)
            }
        }
    }

    @Test(arguments: [GGUFEncoding.q4_0, .q8_0, .tq2_0])
    func `zeros become zeros`(encoding: GGUFEncoding) throws {
        let zeros = Tensor(zeros: [1, 256])
        #expect(Self.decoded(try encoding.encode(zeros, 0..<256), encoding).maxMagnitude == 0)
    }

    @Test(arguments: [GGUFEncoding.q4_0, .q8_0]) func `the smallest numbers become zeros`(encoding: GGUFEncoding) throws {
        let tiny = Tensor(repeating: Float.leastNonzeroMagnitude, [1, 256])
        #expect(Self.decoded(try encoding.encode(tiny, 0..<256), encoding).maxMagnitude == 0)
    }

    @Test(arguments: [GGUFEncoding.q4_0, .q8_0])
    func `what half precision cannot scale is refused by its element`(encoding: GGUFEncoding) {
        for value in [Float.nan, -Float.infinity, 1e9] {
            var tensor = Tensor(zeros: [1, 64])
            tensor[flat: 40] = value
            #expect(throws: UnencodableElement.self) { _ = try encoding.encode(tensor, 0..<64) }
        }
    }

    /// Half a step of each: d/2 of max|x|/127 and max|x|/8, of a scale that half precision rounds by 2⁻¹¹, times up to 127 or
    /// 8.
    @Test func `rounding moves no element by more than the step allows`() throws {
        var random = RandomStream(seed: 3)
        let tensor = Tensor(normal: [64, 32], deviation: 1, from: &random)
        for (encoding, steps) in [(GGUFEncoding.q8_0, 127 as Float), (.q4_0, 8)] {
            let back = Self.decoded(try encoding.encode(tensor, 0..<tensor.count), encoding)
            for row in 0..<64 {
                let range = row * 32..<row * 32 + 32
                let largest = tensor.slice(range).maxMagnitude
                // Q4_0 reaches from −8 to 7: the far end may be off by a whole step.
                let allowed = largest / steps * (encoding == .q4_0 ? 1 : 0.5) + largest / 1024
                #expect(maxDifference(tensor.slice(range), back.slice(range)) <= allowed)
            }
        }
    }
}
