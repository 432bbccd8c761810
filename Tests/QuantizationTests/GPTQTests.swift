import LinearAlgebra
import TensorCore
import TestSupport
import Testing

@testable import Quantization

@Suite struct GPTQTests {
    private static func inputs(_ rows: Int, _ width: Int, seed: UInt64) -> Tensor {
        var random = RandomStream(seed: seed)
        // Channels share half of what they are, and differ in size.
        let common = Tensor(normal: [rows, 8], from: &random)
        var x = Tensor(normal: [rows, width], from: &random)
        for t in 0..<rows { for j in 0..<width { x[t, j] = (x[t, j] + common[t, j % 8]) * (1 + Float(j % 5)) } }
        return x
    }

    private static func statistics(_ x: Tensor) -> InputStatistics {
        let statistics = InputStatistics(width: x.columns, depth: .secondMoment)
        statistics.add(x)
        return statistics
    }

    /// 300 columns are two blocks and a part; 37 rows two vectors and a part.
    @Test func `one factorization gives what the published inversion gives`() throws {
        var random = RandomStream(seed: 71)
        let weight = Tensor(normal: [37, 300], from: &random)
        let x = Self.inputs(700, 300, seed: 72)
        let quantizer = WeightQuantizer(QuantizerSpec(bits: 4, symmetric: true, granularity: .channel))
        let result = try GPTQ().quantize(weight, Self.statistics(x), quantizer)
        let (published, scales) = (PublishedGPTQ(x), result.scales.elements.map(Double.init))
        var theirs: [Int] = []
        for row in 0..<weight.rows {
            published.run((0..<weight.columns).map { weight[row, $0] }) { place, running, _ in
                let code = max(-8, min(7, (running[place] / scales[row]).rounded(.toNearestOrEven)))
                theirs.append(Int(code))
                return code * scales[row]
            }
        }
        // Ours rounds in float32: a weight within 1e-5 of a tie may fall to the other side, and moves what follows in its row.
        let different = zip(result.codes, theirs).count { Int($0) != $1 }
        #expect(different < theirs.count / 100, "\(different) of \(theirs.count)")
    }

    @Test func `blocks, vectors and threads of rows change no integer`() throws {
        var random = RandomStream(seed: 73)
        let weight = Tensor(normal: [50, 200], from: &random)
        let statistics = Self.statistics(Self.inputs(500, 200, seed: 74))
        for granularity in [QuantizerGranularity.channel, .group(40), .group(200), .group(20)] {
            let quantizer = WeightQuantizer(
                QuantizerSpec(bits: 3, symmetric: true, granularity: granularity), searchesClip: true)
            for method in [GPTQ(), GPTQ(byActivation: true), GPTQ(byActivation: true, staticGroups: true)] {
                let whole = try method.quantize(weight, statistics, quantizer)
                let parts = try [0..<7, 7..<50].map {
                    try method.quantize(weight.rows($0), statistics, quantizer)
                }
                let together = parts.flatMap(\.codes)
                #expect(whole.codes == together)
                #expect(whole.columnGroups == parts[0].columnGroups)
            }
        }
    }

    @Test func `groups that are neighbors in the order of rounding are found again`() throws {
        var random = RandomStream(seed: 75)
        let weight = Tensor(normal: [4, 64], from: &random)
        let statistics = Self.statistics(Self.inputs(200, 64, seed: 76))
        let quantizer = WeightQuantizer(QuantizerSpec(bits: 8, symmetric: true, granularity: .group(16)))
        let result = try GPTQ(byActivation: true).quantize(weight, statistics, quantizer)
        let groups = try #require(result.columnGroups)
        let order = try GPTQFactor(statistics, damping: 0.01, byActivation: true).order
        for (place, column) in order.enumerated() { #expect(groups[Int(column)] == Int32(place / 16)) }
        #expect(relativeError(result.dequantized(), weight) < 0.02)
        // Every scale is of use: its group's largest integer is 127 or next to it.
        let codes = result.codes
        for row in 0..<4 {
            for group in 0..<4 {
                let largest = (0..<64).filter { Int(groups[$0]) == group }.map { abs(Int(codes[row * 64 + $0])) }.max()
                #expect(try #require(largest) >= 120)
            }
        }
        #expect(try GPTQ().quantize(weight, statistics, quantizer).columnGroups == nil)
        // Products of integers have no such groups: refused, not taken for neighbors.
        #expect(throws: QuantizationError.self) { try IntegerProduct(result) }
    }

    @Test func `groups larger than a block keep one scale`() throws {
        var random = RandomStream(seed: 77)
        let weight = Tensor(normal: [3, 600], from: &random)
        let statistics = Self.statistics(Self.inputs(900, 600, seed: 78))
        let quantizer = WeightQuantizer(QuantizerSpec(bits: 4, symmetric: false, granularity: .group(300)))
        let result = try GPTQ().quantize(weight, statistics, quantizer)
        #expect(result.scales.shape == [3, 2] && result.zeros.shape == [3, 2])
        #expect(relativeError(result.dequantized(), weight) < 0.2)
    }

    @Test func `what cannot be quantized is refused with the reason`() throws {
        let weight = Tensor(repeating: 1, [4, 12])
        let statistics = Self.statistics(Self.inputs(20, 12, seed: 79))
        func quantizer(_ granularity: QuantizerGranularity) -> WeightQuantizer {
            WeightQuantizer(QuantizerSpec(bits: 4, symmetric: true, granularity: granularity))
        }
        #expect(throws: QuantizationError.groups(columns: 12, size: 5)) {
            try GPTQ().quantize(weight, statistics, quantizer(.group(5)))
        }
        #expect(throws: QuantizationError.groups(columns: 12, size: 5)) {
            try RoundToNearest().quantize(weight, nil, quantizer(.group(5)))
        }
        #expect(throws: QuantizationError.granularity(method: "gptq", "column")) {
            try GPTQ().quantize(weight, statistics, quantizer(.column))
        }
        #expect(throws: QuantizationError.noInputs) {
            try GPTQ().quantize(weight, InputStatistics(width: 12, depth: .secondMoment), quantizer(.channel))
        }
        #expect(throws: QuantizationError.noInputs) { try GPTQ().quantize(weight, nil, quantizer(.channel)) }
        #expect(throws: QuantizationError.inputsZero) {
            try GPTQ().quantize(weight, Self.statistics(Tensor(zeros: [3, 12])), quantizer(.channel))
        }
        // The squares underflow.
        #expect(throws: QuantizationError.inputsZero) {
            try GPTQ().quantize(weight, Self.statistics(Tensor(repeating: 1e-25, [3, 12])), quantizer(.channel))
        }
        // One token has a second moment of rank 1.
        let one = Self.statistics(Self.inputs(1, 12, seed: 80))
        #expect(throws: QuantizationError.singular(damping: 0)) {
            try GPTQ(damping: 0).quantize(weight, one, quantizer(.channel))
        }
        #expect(try GPTQ().quantize(weight, one, quantizer(.channel)).codes.count == 48)
        var broken = weight
        broken[2, 3] = .infinity
        #expect(throws: QuantizationError.weightNotFinite) {
            try GPTQ().quantize(broken, statistics, quantizer(.channel))
        }
        for value in [Float.nan, .infinity] {
            let x = Self.statistics(Tensor(repeating: value, [2, 12]))
            #expect(throws: QuantizationError.inputsNotFinite) { try GPTQ().quantize(weight, x, quantizer(.channel)) }
        }
    }

    @Test(arguments: [SymmetricRange.restricted, .full]) func `groups keep the symmetric range`(range: SymmetricRange) throws {
        let (weight, statistics) = (Self.inputs(6, 16, seed: 83), Self.statistics(Self.inputs(50, 16, seed: 84)))
        let quantizer = WeightQuantizer(
            QuantizerSpec(bits: 4, symmetric: true, granularity: .group(8), symmetricRange: range))
        let result = try GPTQ(staticGroups: true).quantize(weight, statistics, quantizer)
        #expect(result.scales.elements == quantizer.quantized(weight).scales.elements)
    }

    @Test func `inputs whose squares underflow beside larger ones keep their weights`() throws {
        var inputs = Self.inputs(50, 8, seed: 81)
        for row in 0..<50 { inputs[row, 3] *= 1e-25 }
        let weight = Self.inputs(6, 8, seed: 82)
        let quantizer = WeightQuantizer(QuantizerSpec(bits: 8, symmetric: true, granularity: .channel))
        let result = try GPTQ().quantize(weight, Self.statistics(inputs), quantizer)
        #expect(relativeError(result.dequantized(), weight) < 0.02)
    }

    @Test func `methods are found by their names`() {
        #expect(WeightQuantizations.names == ["rtn", "gptq", "absmax", "zero-point"])
        for name in WeightQuantizations.names { #expect(WeightQuantizations.named(name)?.name == name) }
        #expect(WeightQuantizations.named("awq") == nil)
    }
}
