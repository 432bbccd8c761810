import HuggingFace
import Support
import TensorCore
import TestSupport
import Testing

@testable import Quantization

@Suite struct GPTQGoldenTests {
    /// `b4.sym.minmax.g32.act1.static0` → what it asks for.
    private struct Variant {
        let name: String
        let bits: Int
        let isSymmetric: Bool
        let searchesClip: Bool
        let group: Int?
        let byActivation: Bool
        let isStatic: Bool

        init(_ name: String) throws {
            let pattern = /b([0-9]+)\.(sym|asym_REFBUG)\.(minmax|mse)\.g(-?[0-9]+)\.act([01])\.static([01])/
            let match = try #require(name.wholeMatch(of: pattern))
            self.name = name
            bits = try #require(Int(match.1))
            isSymmetric = match.2 == "sym"
            searchesClip = match.3 == "mse"
            group = try #require(Int(match.4)) < 0 ? nil : Int(match.4)
            byActivation = match.5 == "1"
            isStatic = match.6 == "1"
        }

        var quantizer: WeightQuantizer {
            WeightQuantizer(
                QuantizerSpec(bits: bits, symmetric: isSymmetric, granularity: group.map { .group($0) } ?? .channel),
                searchesClip: searchesClip)
        }

        /// As the reference does it: ranges of groups from the weights before the block.
        var method: GPTQ { GPTQ(byActivation: byActivation, staticGroups: isStatic, groupRanges: .blockStart) }
    }

    private static func statistics(_ x: Tensor) -> InputStatistics {
        let statistics = InputStatistics(width: x.columns, depth: .secondMoment)
        statistics.add(x)
        return statistics
    }

    /// ‖X·(W − Ŵ)ᵀ‖².
    private static func outputError(_ x: Tensor, _ weight: Tensor, _ rounded: Tensor) -> Double {
        let difference = weight - rounded
        var sum = 0.0
        for t in 0..<x.rows {
            for row in 0..<weight.rows {
                var y = 0.0
                for j in 0..<weight.columns { y += Double(x[t, j]) * Double(difference[row, j]) }
                sum += y * y
            }
        }
        return sum
    }

    @Test(arguments: GoldenSuite.cases(group: "gptq"))
    func `integers are the reference's, in its order of columns`(_ golden: GoldenCase) throws {
        let tensors = try GoldenSuite.tensors(of: golden)
        let (weight, x) = (try tensors.readFloat("W"), try tensors.readFloat("X"))
        let statistics = Self.statistics(x)
        let order = try GPTQFactor(statistics, damping: 0.01, byActivation: true).order.map(Int.init)
        let names = golden.params["variants"]?.array?.compactMap(\.string) ?? []
        #expect(!names.isEmpty)
        // The suite allows 2 % of the entries, since one rounding that flips moves later columns.
        let allowed = try #require(golden.tolerance["mismatch_fraction_max"]?.number)
        let variants = try names.map(Variant.init).filter(\.isSymmetric)
        #expect(!variants.isEmpty)
        for variant in variants {
            let result = try variant.method.quantize(weight, statistics, variant.quantizer)
            let theirs = try tensors.readFloat("\(variant.name).Q")
            let ours = result.dequantized()
            let different = (0..<ours.count).count { !(abs(ours[flat: $0] - theirs[flat: $0]) <= 1e-5) }
            #expect(Double(different) <= allowed * Double(ours.count), "\(variant.name): \(different)")
            let integers = try tensors.readInts("\(variant.name).int_weight_unpermuted_order")
            var unequal = 0
            let codes = result.codes
            for row in 0..<weight.rows {
                for place in 0..<weight.columns {
                    let column = variant.byActivation ? order[place] : place
                    if Int(codes[row * weight.columns + column]) != integers[row * weight.columns + place] {
                        unequal += 1
                    }
                }
            }
            #expect(Double(unequal) <= allowed * Double(ours.count), "\(variant.name): \(unequal)")
            // On the suite of this project no rounding is near a tie: a change of 1e-7 changes no integer.
            if GoldenSuite.isOwn { #expect(unequal == 0 && different == 0, "\(variant.name)") }
            let error = try #require(golden.expected[variant.name]?["output_sq_err"]?.number)
            #expect(abs(Self.outputError(x, weight, ours) - error) <= 0.02 * error, "\(variant.name)")
        }
    }

    @Test(arguments: GoldenSuite.cases(group: "gptq"))
    func `second moments are the reference's`(_ golden: GoldenCase) throws {
        let tensors = try GoldenSuite.tensors(of: golden)
        let (x, theirs) = (try tensors.readFloat("X"), try tensors.readFloat("H"))
        let statistics = Self.statistics(x)
        var ours = Tensor(zeros: theirs.shape)
        for i in 0..<x.columns {
            for j in 0...i {
                // The reference counts all of X as one sample: H = 2·Xᵀ·X.
                let sum = Float(2 * statistics.productRow(i)[j])
                (ours[i, j], ours[j, i]) = (sum, sum)
            }
        }
        #expect(relativeError(ours, theirs) < (try #require(golden.tolerance["H_rel"]?.number)))
        #expect(statistics.rows == x.rows)
    }

    @Test(arguments: GoldenSuite.cases(group: "gptq"))
    func `a column whose input never comes becomes 0 and changes nothing else`(_ golden: GoldenCase) throws {
        let tensors = try GoldenSuite.tensors(of: golden)
        let weight = try tensors.readFloat("W")
        var x = try tensors.readFloat("X")
        let prefix = "dead.X_zero_column_"
        let name = try #require(tensors.names.first { $0.hasPrefix(prefix) && $0.hasSuffix(".Q") })
        let dead = try #require(Int(name.dropFirst(prefix.count).dropLast(2)))
        for t in 0..<x.rows { x[t, dead] = 0 }
        let quantizer = WeightQuantizer(QuantizerSpec(bits: 4, symmetric: true, granularity: .channel))
        let ours = try GPTQ().quantize(weight, Self.statistics(x), quantizer).dequantized()
        let theirs = try tensors.readFloat(name)
        let different = (0..<ours.count).count { !(abs(ours[flat: $0] - theirs[flat: $0]) <= 1e-5) }
        #expect(Double(different) <= 0.02 * Double(ours.count))
        for row in 0..<weight.rows { #expect(ours[row, dead] == 0) }
    }

    /// The reference forgets the zero point; with it, and with ranges that take in what earlier columns have left, the output
    /// is nearer than the nearest integers'.
    @Test(arguments: GoldenSuite.cases(group: "gptq"))
    func `zero points and compensated ranges lower the output's error`(_ golden: GoldenCase) throws {
        let tensors = try GoldenSuite.tensors(of: golden)
        let (weight, x) = (try tensors.readFloat("W"), try tensors.readFloat("X"))
        let statistics = Self.statistics(x)
        let groups = [32, 8].filter { weight.columns % $0 == 0 }.map { QuantizerGranularity.group($0) }
        // How much is won depends on how the inputs hang together.
        let bound = GoldenSuite.isOwn ? 0.8 : 1
        for granularity in [QuantizerGranularity.channel, .tensor] + groups {
            for isSymmetric in [true, false] {
                for method in [
                    GPTQ(), GPTQ(byActivation: true), GPTQ(staticGroups: true), GPTQ(byActivation: true, staticGroups: true),
                ] {
                    let quantizer = WeightQuantizer(
                        QuantizerSpec(bits: 4, symmetric: isSymmetric, granularity: granularity), searchesClip: true)
                    let nearest = Self.outputError(x, weight, quantizer.fakeQuantized(weight))
                    let rounded = try method.quantize(weight, statistics, quantizer).dequantized()
                    let error = Self.outputError(x, weight, rounded)
                    #expect(error < bound * nearest, "\(granularity) \(isSymmetric) \(method): \(error) of \(nearest)")
                }
            }
        }
    }
}
