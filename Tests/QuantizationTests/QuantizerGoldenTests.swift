import Glibc
import HuggingFace
import Quantization
import Support
import TensorCore
import TestSupport
import Testing

@Suite struct QuantizerGoldenTests {
    static func golden(_ id: String) throws -> (GoldenCase, SafetensorsFile) {
        let golden = try #require(GoldenSuite.cases(group: "quant").first { $0.id == "quant/\(id)" })
        return (golden, try GoldenSuite.tensors(of: golden))
    }

    /// `b4.asym.g16.c0.85` → its settings.
    static func activationSpec(_ variant: String) throws -> QuantizerSpec {
        let match = try #require(variant.firstMatch(of: /b([0-9]+)\.(a?)sym\.g(-?[0-9]+)\.c([0-9.]+)/))
        let group = try #require(Int(match.3))
        return QuantizerSpec(
            bits: try #require(Int(match.1)), symmetric: match.2.isEmpty, granularity: group < 0 ? .token : .group(group),
            clipRatio: try #require(Float(match.4)))
    }

    @Test func `activations are quantized as in the reference`() throws {
        let (golden, tensors) = try Self.golden("act")
        let x = try tensors.readFloat("x")
        let variants = golden.params["variants"]?.array?.compactMap(\.string) ?? []
        #expect(!variants.isEmpty)
        for variant in variants {
            let spec = try Self.activationSpec(variant)
            let ours = fakeQuantized(x, spec).elements, theirs = try tensors.readFloat("\(variant).y").elements
            let scales = try tensors.readFloat("\(variant).scale").elements
            let size = x.count / scales.count
            var flipped = 0
            for i in 0..<x.count {
                if theirs[i].isNaN {
                    // A group of one value: the reference divides 0 by 0, here the value stays.
                    #expect(ours[i] == x.elements[i], "\(variant)[\(i)]")
                } else if !(abs(ours[i] - theirs[i]) <= 1e-5) {
                    flipped += 1
                    #expect(abs(ours[i] - theirs[i]) <= scales[i / size] * 1.001, "\(variant)[\(i)]")
                }
            }
            // The suite allows one step on 0.2 % of the entries.
            #expect(Double(flipped) <= 0.002 * Double(x.count), "\(variant)")
        }
    }

    @Test func `weights are quantized as in the reference, clip search included`() throws {
        let (golden, tensors) = try Self.golden("weight")
        let weight = try tensors.readFloat("W")
        let variants = golden.params["variants"]?.array?.compactMap(\.string) ?? []
        #expect(!variants.isEmpty)
        for variant in variants {
            let match = try #require(
                variant.firstMatch(of: /b([0-9]+)\.(a?)sym\.(perchannel|pertensor|group)([0-9]*)\.(minmax|mse)/))
            let granularity: QuantizerGranularity
            switch match.3 {
            case "perchannel": granularity = .channel
            case "pertensor": granularity = .tensor
            default: granularity = .group(try #require(Int(match.4)))
            }
            let spec = QuantizerSpec(bits: try #require(Int(match.1)), symmetric: match.2.isEmpty, granularity: granularity)
            let quantizer = WeightQuantizer(spec, searchesClip: match.5 == "mse")
            let ours = quantizer.fakeQuantized(weight), theirs = try tensors.readFloat("\(variant).y")
            #expect(quantizer.quantized(weight).dequantized().elements == ours.elements, "\(variant)")
            let scales = try tensors.readFloat("\(variant).scale").elements
            let groups = granularity == .tensor ? 1 : scales.count
            let size = weight.count / groups
            for group in 0..<groups {
                let range = group * size..<(group + 1) * size
                let difference = range.reduce(Float(0)) { max($0, abs(ours[flat: $1] - theirs[flat: $1])) }
                guard difference > 1e-6 else { continue }
                // Another ratio is right only if it is as good.
                func error(_ y: Tensor) -> Double {
                    range.reduce(0.0) { $0 + pow(abs(Double(y[flat: $1]) - Double(weight[flat: $1])), 2.4) }
                }
                #expect(match.5 == "mse" && error(ours) <= error(theirs) * (1 + 1e-5), "\(variant), group \(group)")
            }
        }
    }

    @Test func `plain absmax and zero-point integers agree exactly`() throws {
        let (golden, tensors) = try Self.golden("plain")
        let x = try tensors.readFloat("x")
        let names = tensors.tensors.keys.compactMap {
            $0.firstMatch(of: /^((absmax|zeropoint)\.b([0-9]+)\.(tensor|row|col))\.q$/)?.output
        }
        #expect(!names.isEmpty, "\(golden)")
        for (_, name, kind, bits, axis) in names {
            let granularity: QuantizerGranularity = axis == "tensor" ? .tensor : axis == "row" ? .channel : .column
            let width = try #require(Int(bits))
            let spec = QuantizerSpec(bits: width, symmetric: kind == "absmax", granularity: granularity)
            let ours = WeightQuantizer(spec).quantized(x)
            // Signed codes there, codes from 0 here.
            let offset = kind == "absmax" ? 0 : 1 << (width - 1)
            #expect(ours.codes.map(Int.init) == (try tensors.readInts("\(name).q")).map { $0 + offset }, "\(name)")
            #expect(relativeError(ours.scales, try tensors.readFloat("\(name).scale")) < 1e-6, "\(name)")
            #expect(maxDifference(ours.dequantized(), try tensors.readFloat("\(name).y")) <= 1e-6, "\(name)")
        }
    }

    @Test func `the clip search never does worse than the full range`() {
        var random = RandomStream(seed: 31)
        let weight = Tensor(normal: [16, 96], from: &random)
        func error(_ y: Tensor) -> Double {
            zip(y.elements, weight.elements).reduce(0.0) { $0 + pow(abs(Double($1.0 - $1.1)), 2.4) }
        }
        for granularity in [QuantizerGranularity.tensor, .channel, .column, .group(32)] {
            for symmetric in [true, false] {
                let spec = QuantizerSpec(bits: 3, symmetric: symmetric, granularity: granularity)
                let searched = error(WeightQuantizer(spec, searchesClip: true).fakeQuantized(weight))
                #expect(searched < error(WeightQuantizer(spec).fakeQuantized(weight)))
            }
        }
    }
}
