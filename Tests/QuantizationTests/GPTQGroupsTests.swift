import TensorCore
import TestSupport
import Testing

@testable import Quantization

/// Groups whose ranges are taken on the way, against ``PublishedGPTQ``: 320 columns are two blocks of 128 and a part, so that
/// groups begin with columns rounded before them, in their block and in others.
@Suite(.serialized) struct GPTQGroupsTests {
    private static let columns = 320
    /// Channels that never come: their weights are 0 and count as such in ranges.
    private static let dead = [7, 200]
    private static let weight: Tensor = {
        var random = RandomStream(seed: 171)
        return Tensor(normal: [24, columns], from: &random)
    }()
    private static let x: Tensor = {
        var random = RandomStream(seed: 172)
        let common = Tensor(normal: [700, 8], from: &random)
        var x = Tensor(normal: [700, columns], from: &random)
        for t in 0..<x.rows {
            for j in 0..<columns {
                let value = (x[t, j] + 2 * common[t, j % 8] + common[t, j % 3]) * (1 + Float(j % 5))
                x[t, j] = dead.contains(j) ? 0 : value
            }
        }
        return x
    }()
    private static var statistics: InputStatistics {
        let statistics = InputStatistics(width: columns, depth: .secondMoment)
        statistics.add(x)
        return statistics
    }
    private static let asStored = PublishedGPTQ(x)
    private static let byActivation = PublishedGPTQ(x, byActivation: true)

    /// Of five groups of 64 four need the running weights; taken where a block of 128 begins, all of a block's at once.
    @Test func `what the ranges of groups take is counted`() {
        func extra(_ method: GPTQ, _ size: Int) -> Double {
            method.cost(rows: 24, columns: 320, .group(size)).products
                - method.cost(rows: 24, columns: 320, .channel).products
        }
        #expect(extra(GPTQ(), 64) == 24 * 4 * 64 * 64)
        #expect(extra(GPTQ(groupRanges: .blockStart), 64) == 24 * 128 * (320 - 128))
        #expect(extra(GPTQ(), 320) == 0 && extra(GPTQ(staticGroups: true), 64) == 0)
    }

    struct Variant: CustomStringConvertible {
        let size: Int
        let byActivation: Bool
        let isSymmetric: Bool
        let ranges: GPTQ.GroupRanges

        static let all = [32, 64, 80, 160].flatMap { size in
            [false, true].flatMap { byActivation in
                [false, true].flatMap { isSymmetric in
                    [GPTQ.GroupRanges.compensated, .blockStart].map {
                        Variant(size: size, byActivation: byActivation, isSymmetric: isSymmetric, ranges: $0)
                    }
                }
            }
        }

        var description: String {
            "\(size) \(byActivation ? "by activation" : "as stored"), \(isSymmetric ? "symmetric" : "zeros"), \(ranges)"
        }
        var method: GPTQ { GPTQ(byActivation: byActivation, groupRanges: ranges) }
        var quantizer: WeightQuantizer {
            WeightQuantizer(QuantizerSpec(bits: 4, symmetric: isSymmetric, granularity: .group(size)))
        }
        var byRow: WeightQuantizer {
            WeightQuantizer(QuantizerSpec(bits: 4, symmetric: isSymmetric, granularity: .channel))
        }
    }

    /// The reference goes on with what ours rounded to, so that a tie that falls to the other side moves nothing behind it.
    @Test(arguments: Variant.all)
    func `scales and integers are those of the running weights`(_ variant: Variant) throws {
        let weight = Self.weight
        let result = try variant.method.quantize(weight, Self.statistics, variant.quantizer)
        let (published, codes) = (variant.byActivation ? Self.byActivation : Self.asStored, result.codes)
        let (rounded, count) = (result.dequantized(), Self.columns / variant.size)
        #expect(result.scales.shape == [24, count] && result.zeros.shape == [24, count])
        var (worst, wrong) = (Float(0), 0)
        for row in 0..<weight.rows {
            var grid: (scales: Tensor, zeros: Tensor)?
            published.run((0..<Self.columns).map { weight[row, $0] }) { place, running, beforeBlock in
                let (column, group) = (published.order[place], row * count + place / variant.size)
                if place % variant.size == 0 {
                    let source = variant.ranges == .blockStart ? beforeBlock : running
                    let part = Tensor(source[place..<place + variant.size].map(Float.init), [1, variant.size])
                    let theirs = variant.byRow.grids(of: part)
                    grid = theirs
                    worst = max(worst, abs(result.scales[flat: group] / theirs.scales[flat: 0] - 1))
                    if result.zeros[flat: group] != theirs.zeros[flat: 0] { wrong += 1 }
                }
                guard let grid else { return 0 }
                let value = running[place] / Double(grid.scales[flat: 0]) + Double(grid.zeros[flat: 0])
                let clamped = max(variant.isSymmetric ? -8 : 0, min(variant.isSymmetric ? 7 : 15, value))
                if abs(Double(codes[row * Self.columns + column]) - clamped) > 0.501 { wrong += 1 }
                return Double(rounded[row, column])
            }
        }
        #expect(worst < 1e-4 && wrong == 0, "\(variant): scales differ by \(worst), \(wrong) integers")
    }

    @Test func `threads change no bit`() throws {
        var random = RandomStream(seed: 173)
        // Rows enough for several threads.
        let weight = Tensor(normal: [300, Self.columns], from: &random)
        for variant in Variant.all where !variant.isSymmetric && variant.size != 80 {
            func quantized(threads: Int) throws -> QuantizedWeight {
                try withThreads(threads) { try variant.method.quantize(weight, Self.statistics, variant.quantizer) }
            }
            let (one, three) = (try quantized(threads: 1), try quantized(threads: 3))
            #expect(one.codes == three.codes && one.scales.elements == three.scales.elements, "\(variant)")
        }
    }
}
