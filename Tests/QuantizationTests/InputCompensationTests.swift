import TensorCore
import Testing

@testable import Quantization

@Suite struct InputCompensationTests {
    private static let (tokens, width) = (400, 12)

    /// Inputs whose channels share half of what they are, the same changed as rounding changes them, and what both give.
    private static func statistics() -> (exact: Tensor, rounded: Tensor, InputStatistics) {
        var random = RandomStream(seed: 51)
        let common = Tensor(normal: [tokens, 1], from: &random)
        var exact = Tensor(normal: [tokens, width], from: &random)
        for t in 0..<tokens { for j in 0..<width { exact[t, j] += common[t, 0] } }
        var rounded = exact + Tensor(normal: [tokens, width], deviation: 0.4, from: &random)
        // An input that never comes.
        for t in 0..<tokens { rounded[t, 5] = 0 }
        let statistics = InputStatistics(width: width, depth: .deviation)
        statistics.add(rounded, exact: exact)
        return (exact, rounded, statistics)
    }

    private static func product(_ x: Tensor, _ weight: Tensor) -> Tensor {
        var result = Tensor(zeros: [x.rows, weight.rows])
        for t in 0..<x.rows {
            for o in 0..<weight.rows { result[t, o] = (0..<x.columns).reduce(0) { $0 + x[t, $1] * weight[o, $1] } }
        }
        return result
    }

    @Test func `no weights come nearer to what the full-precision inputs give`() throws {
        var random = RandomStream(seed: 52)
        let weight = Tensor(normal: [5, Self.width], from: &random)
        let (exact, rounded, statistics) = Self.statistics()
        let compensation = try InputCompensation(statistics, damping: 0)
        let whole = try compensation.applied(to: weight, part: 1)
        // What is left is at right angles to every input.
        let left = Self.product(exact, weight) - Self.product(rounded, whole)
        for o in 0..<5 {
            for j in 0..<Self.width {
                let overlap = (0..<Self.tokens).reduce(Float(0)) { $0 + left[$1, o] * rounded[$1, j] } / Float(Self.tokens)
                #expect(abs(overlap) < 1e-3, "\(o), \(j)")
            }
        }
        let half = try compensation.applied(to: weight, part: 0.5)
        for (index, value) in half.elements.enumerated() {
            #expect(abs(value - (weight.elements[index] + whole.elements[index]) / 2) < 1e-5)
        }
    }

    @Test func `GPTQ that compensates is nearer to the full-precision outputs`() throws {
        var random = RandomStream(seed: 53)
        let weight = Tensor(normal: [9, Self.width], from: &random)
        let (exact, rounded, statistics) = Self.statistics()
        let quantizer = WeightQuantizer(QuantizerSpec(bits: 4, symmetric: true, granularity: .channel))
        let errors = try [0, 0.5, 1].map { part in
            let method = GPTQ(compensation: part)
            #expect(method.inputs == (part > 0 ? .deviation : .secondMoment))
            let integers = try method.quantize(weight, statistics, quantizer)
            return (Self.product(exact, weight) - Self.product(rounded, integers.dequantized())).squaredNorm
        }
        #expect(errors[2] < errors[1] && errors[1] < 0.95 * errors[0], "\(errors)")
    }

    /// One whose squares are 0 in float32 is none that never comes, and undamped nothing can be solved with it.
    @Test func `the compensation and GPTQ agree on which inputs never come`() {
        let (exact, given, before) = Self.statistics()
        #expect(before.isDead == (0..<Self.width).map { $0 == 5 })
        var rounded = given
        // In a token without the others, so that all its products are 0.
        for j in 0..<Self.width { rounded[7, j] = j == 5 ? 1e-25 : 0 }
        let statistics = InputStatistics(width: Self.width, depth: .deviation)
        statistics.add(rounded, exact: exact)
        #expect(statistics.meanSquares[5] == 0 && !statistics.isDead.contains(true))
        let expected = QuantizationError.singular(damping: 0)
        #expect(throws: expected) { try InputCompensation(statistics, damping: 0) }
        #expect(throws: expected) { try GPTQFactor(statistics, damping: 0, byActivation: false) }
        #expect(throws: Never.self) { try InputCompensation(statistics, damping: 0.01) }
    }

    @Test func `inputs without a factor are an error`() {
        let statistics = InputStatistics(width: 3, depth: .deviation)
        let x = Tensor([1, 1, 1, 2, 2, 2], [2, 3])
        statistics.add(x, exact: x)
        #expect(throws: QuantizationError.self) { try InputCompensation(statistics, damping: 0) }
    }
}
