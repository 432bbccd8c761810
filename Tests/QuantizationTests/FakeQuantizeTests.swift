import Autograd
import LinearAlgebra
import Quantization
import Support
import TensorCore
import Testing

@Suite struct FakeQuantizeTests {
    static let granularities: [QuantizerGranularity] = [.tensor, .token, .group(16), .head(16), .group(5), .head(80)]

    /// The formulas of docs/algorithms.md, section 2, written out for one group.
    static func reference(_ group: [Float], _ spec: QuantizerSpec) -> [Float] {
        var low = group.min() ?? 0, high = group.max() ?? 0
        if spec.symmetric {
            let levels = Float((1 << (spec.bits - 1)) - 1)
            let magnitude = max(abs(low), abs(high))
            let steps = spec.symmetricRange == .full ? levels + 0.5 : levels
            var scale = magnitude == 0 ? 1 : magnitude * spec.clipRatio / steps
            if spec.symmetricRange == .full { scale *= 1 - 0x1p-22 }
            return group.map { min(max(($0 / scale).rounded(.toNearestOrEven), -levels - 1), levels) * scale }
        }
        if spec.includesZero { (low, high) = (min(low, 0), max(high, 0)) }
        if low == high && low != 0 { return group }
        let levels = Float((1 << spec.bits) - 1)
        (low, high) = low == high ? (-1, 1) : (low * spec.clipRatio, high * spec.clipRatio)
        let scale = (high - low) / levels
        let zero = (-low / scale).rounded(.toNearestOrEven)
        return group.map { (min(max(($0 / scale).rounded(.toNearestOrEven) + zero, 0), levels) - zero) * scale }
    }

    @Test(arguments: granularities, [(4, true), (4, false), (8, true), (8, false), (3, false), (2, true)])
    func `every granularity follows the formulas bit for bit`(
        granularity: QuantizerGranularity, kind: (bits: Int, symmetric: Bool)
    ) {
        var random = RandomStream(seed: 11)
        let x = Tensor(normal: [6, 80], from: &random)
        for clip in [1, 0.85] as [Float] {
            var spec = QuantizerSpec(bits: kind.bits, symmetric: kind.symmetric, granularity: granularity, clipRatio: clip)
            let size: Int
            switch granularity {
            case .tensor: size = x.count
            case .group(let n), .head(let n): size = n
            case .token, .channel, .column: size = x.columns
            }
            for range in SymmetricRange.allCases {
                spec.symmetricRange = range
                let expected = stride(from: 0, to: x.count, by: size).flatMap { start in
                    Self.reference(Array(x.elements[start..<(start + size)]), spec)
                }
                #expect(fakeQuantized(x, spec).elements == expected)
            }
        }
    }

    /// Its quotient is half a step beyond the last code: without a rule its last bit would choose.
    @Test(arguments: [3, 4, 8]) func `the end of a full range takes the outer code`(bits: Int) {
        var random = RandomStream(seed: 21)
        let spec = QuantizerSpec(bits: bits, symmetric: true, symmetricRange: .full)
        let ends = Tensor(normal: [500, 1], from: &random).elements.map(abs)
        let steps = Float(1 << (bits - 1))
        for sign in [1, -1] as [Float] {
            let x = Tensor(ends.flatMap { [sign * $0, 0.1 * $0] }, [ends.count, 2])
            let rounded = fakeQuantized(x, spec)
            for (row, end) in ends.enumerated() {
                let expected = sign < 0 ? -steps : steps - 1
                #expect(abs(rounded[row, 0] / (end / (steps - 0.5)) - expected) < 1e-3)
            }
        }
    }

    @Test func `a group of zeros stays zero, and a group of one value stays that value`() {
        for symmetric in [true, false] {
            for granularity in [QuantizerGranularity.token, .group(16)] {
                let spec = QuantizerSpec(bits: 4, symmetric: symmetric, granularity: granularity, clipRatio: 0.85)
                #expect(fakeQuantized(Tensor(zeros: [3, 16]), spec).elements.allSatisfy { $0 == 0 })
            }
        }
        let spec = QuantizerSpec(bits: 4, granularity: .group(16), clipRatio: 0.85)
        for value in [0.37, -0.37, 1e-36, -3e30] as [Float] {
            let constant = Tensor(repeating: value, [2, 16])
            #expect(fakeQuantized(constant, spec).elements == constant.elements)
        }
    }

    @Test func `a value that is not a number shows where it stands and changes no other row`() {
        var x = Tensor(repeating: 0.5, [3, 32])
        x[1, 7] = .nan
        let y = fakeQuantized(x, QuantizerSpec(bits: 8))
        #expect(y[1, 7].isNaN)
        #expect(y.rows(0..<1).isFinite && y.rows(2..<3).isFinite)
    }

    @Test func `sixteen bits change nothing`() {
        var random = RandomStream(seed: 3)
        let x = Tensor(normal: [4, 8], from: &random)
        #expect(fakeQuantized(x, QuantizerSpec(bits: 16)).elements == x.elements)
    }

    @Test func `quantizing by columns is quantizing the rows of the transpose`() {
        var random = RandomStream(seed: 4)
        let x = Tensor(normal: [12, 20], from: &random)
        let byColumns = fakeQuantized(x, QuantizerSpec(bits: 4, granularity: .column))
        let byRows = fakeQuantized(x.transposed(), QuantizerSpec(bits: 4, granularity: .channel))
        #expect(byColumns.elements == byRows.transposed().elements)
    }
}

@Suite struct QuantizerGradientTests {
    final class Recorder: QuantizerObserver {
        var seen: [(input: Tensor, output: Tensor, outputGradient: Tensor, inputGradient: Tensor)] = []
        func observe(input: Tensor, output: Tensor, outputGradient: Tensor, inputGradient: Tensor) {
            seen.append((input, output, outputGradient, inputGradient))
        }
    }

    @Test func `straight through, the gradient passes unchanged, clipped entries included`() {
        var random = RandomStream(seed: 5)
        let value = Tensor(normal: [5, 32], from: &random), upstream = Tensor(normal: [5, 32], from: &random)
        let tape = Tape()
        let x = Variable(parameter: value)
        let y = tape.fakeQuantize(x, QuantizerSpec(bits: 4, clipRatio: 0.5))
        tape.backward(from: y, gradient: upstream)
        #expect(x.gradient?.elements == upstream.elements)
    }

    /// With the codes q and the zero point held fixed, x̂ = s(x)·(q − z) is smooth in the entries that span the range. The
    /// straight-through rounding adds dx̂ to every entry; what is left is the derivative of s, which differences can check.
    @Test(
        arguments: [(true, .restricted), (true, .full), (false, .full)] as [(Bool, SymmetricRange)],
        [QuantizerGranularity.token, .group(8), .head(8)])
    func `the range gradient is the derivative of the scale`(
        _ kind: (symmetric: Bool, range: SymmetricRange), granularity: QuantizerGranularity
    ) {
        var random = RandomStream(seed: 6)
        let spec = QuantizerSpec(
            bits: 4, symmetric: kind.symmetric, granularity: granularity, clipRatio: 0.9, symmetricRange: kind.range)
        let value = Tensor(normal: [3, 16], from: &random), upstream = Tensor(normal: [3, 16], from: &random)
        let size = granularity == .token ? 16 : 8
        let tape = Tape()
        let x = Variable(parameter: value)
        tape.backward(from: tape.fakeQuantize(x, spec, gradient: .range), gradient: upstream)
        let gradient = x.gradient ?? Tensor(zeros: [0])
        let output = fakeQuantized(value, spec)

        for start in stride(from: 0, to: value.count, by: size) {
            let group = Array(value.elements[start..<(start + size)]).map(Double.init)
            // ds/dx_j by central differences in double precision; the step never changes which entry is extreme.
            func scale(_ x: [Double]) -> Double {
                var low = x.min() ?? 0, high = x.max() ?? 0
                if kind.symmetric { return 0.9 * max(-low, high) / (kind.range == .full ? 7.5 : 7) }
                if spec.includesZero { (low, high) = (min(low, 0), max(high, 0)) }
                return 0.9 * (high - low) / 15
            }
            let s = scale(group)
            let ds = (0..<size).reduce(0.0) { sum, i in
                let (y, v) = (Double(output[flat: start + i]), group[i])
                return sum + Double(upstream[flat: start + i]) * (y - v) / s
            }
            for j in 0..<size {
                var (up, down) = (group, group)
                up[j] += 1e-6
                down[j] -= 1e-6
                let derivative = (scale(up) - scale(down)) / 2e-6
                let expected = Double(upstream[flat: start + j]) + ds * derivative
                // float32 sums of 16 terms of order 1.
                #expect(abs(Double(gradient[flat: start + j]) - expected) < 2e-5)
            }
        }
    }

    @Test func `a range end widened to zero gives its gradient to no entry`() {
        let value = Tensor([0.31, 0.5, 0.73, 1], [1, 4]), upstream = Tensor([1, 1, 1, 1], [1, 4])
        let tape = Tape()
        let x = Variable(parameter: value)
        tape.backward(from: tape.fakeQuantize(x, QuantizerSpec(bits: 2), gradient: .range), gradient: upstream)
        let elements = x.gradient?.elements ?? []
        #expect(Array(elements.prefix(3)) == [1, 1, 1])
        #expect(elements.last != 1)
    }

    @Test func `the observer sees both sides`() throws {
        var random = RandomStream(seed: 8)
        let value = Tensor(normal: [4, 16], from: &random), upstream = Tensor(normal: [4, 16], from: &random)
        for gradient in [QuantizerGradient.range, .straightThrough] {
            let recorder = Recorder()
            let tape = Tape()
            let x = Variable(parameter: value)
            let spec = QuantizerSpec(bits: 4)
            tape.backward(from: tape.fakeQuantize(x, spec, gradient: gradient, observer: recorder), gradient: upstream)
            let seen = try #require(recorder.seen.first)
            #expect(recorder.seen.count == 1)
            #expect(seen.input.elements == value.elements)
            #expect(seen.output.elements == fakeQuantized(value, spec).elements)
            #expect(seen.outputGradient.elements == upstream.elements)
            #expect(seen.inputGradient.elements == x.gradient?.elements)
        }
    }
}
