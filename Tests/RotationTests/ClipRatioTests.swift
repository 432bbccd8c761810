import Autograd
import LinearAlgebra
import Models
import Quantization
import TensorCore
import Testing

@testable import Rotation

/// Ranges scaled site by site.
@Suite struct ClipRatioTests {
    private static let ratios: ClipRatios = {
        var result = ClipRatios()
        for (place, site) in ClipRatios.sites.enumerated() { result[site] = 0.5 + 0.07 * Double(place) }
        return result
    }()

    private func quantization(_ ratios: ClipRatios, perHead: Bool = true, symmetric: Bool = false) -> ActivationQuantization {
        ActivationQuantization(
            activationBits: 4, activationSymmetric: symmetric, activationRange: .full, outputPerHead: perHead, keyBits: 3,
            valueBits: 5, cacheSymmetric: symmetric, clipRatios: ratios, headDimension: 4, gradient: .straightThrough)
    }

    @Test(arguments: [true, false]) func `every site has its own ratio, and nothing else changes`(_ perHead: Bool) {
        let (plain, scaled) = (quantization(.none, perHead: perHead), quantization(Self.ratios, perHead: perHead))
        for point in HookPoint.allCases {
            guard ClipRatios.sites.contains(point) else {
                #expect(scaled[point] == nil && plain[point] == nil)
                continue
            }
            var expected = plain[point]
            expected?.clipRatio = Float(Self.ratios[point])
            #expect(expected != nil && scaled[point] == expected)
        }
        #expect(Set(ClipRatios.sites.map { Self.ratios[$0] }).count == 6)
        #expect(scaled[.outputInput]?.granularity == (perHead ? .head(4) : .token))
        #expect(scaled[.outputInput]?.includesZero == !perHead)
    }

    /// A ratio of ½ on [−1, 4]: s = ½·5/15 = 1/6 and z = 3, so that codes go from −½ to 2. Symmetric in the full range:
    /// s = ½·4/7.5 = 4/15 less two units in the last place, and codes from −8 to 7.
    @Test(arguments: [
        (false, [-0.5, 0, 0.5, 2, 2] as [Float]),
        (true, [-4, 0, 2, 7, 7].map { Float($0) * (4 / 15 as Float) * (1 - 0x1p-22) }),
    ])
    func `a token's values come out as worked out by hand`(_ symmetric: Bool, _ expected: [Float]) {
        var ratios = ClipRatios()
        ratios[.downInput] = 0.5
        let hooks = QuantizedHooks(quantization: quantization(ratios, symmetric: symmetric))
        let x = Variable(constant: Tensor([-1, 0.01, 0.5, 2.25, 4], [1, 5]))
        let y = hooks.transform(x, at: .downInput, block: 0, on: Tape(recording: false)).value.elements
        #expect(zip(y, expected).allSatisfy { abs($0 - $1) < 1e-6 }, "\(y)")
        // Elsewhere the extremes are codes.
        let other = hooks.transform(x, at: .mlpInput, block: 0, on: Tape(recording: false)).value.elements
        #expect(abs(other[4] - 4) < 0.01 * 4 || symmetric, "\(other)")
        #expect(other[4] > 3.5)
    }

    @Test func `sites that are not rounded have no ratio`() {
        #expect(Self.ratios.rounding(activations: 4, keys: 4, values: 8) == Self.ratios)
        #expect(Self.ratios.rounding(activations: 16, keys: 16, values: 16) == .none)
        let cache = Self.ratios.rounding(activations: 16, keys: 4, values: 16)
        #expect(ClipRatios.sites.filter { cache[$0] != 1 } == [.key])
        #expect(cache[.key] == Self.ratios[.key])
        let inputs = Self.ratios.rounding(activations: 8, keys: 16, values: 4)
        #expect(ClipRatios.sites.filter { inputs[$0] == 1 } == [.key])
    }
}
