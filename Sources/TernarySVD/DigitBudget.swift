internal import Glibc
internal import Support

/// Bits divided among layers by the slope of their errors: one bit more or less changes each layer's loss, as a share of its
/// output's energy, by the same amount.
///
/// A layer that loses the share ε² of its energy has unit² = 12·ε²·energy/(m·n), and one more bit for each number removes three
/// quarters of the loss. So ε²/(m·n) is the same for all layers, ε = t·√(m·n/mean m·n), and the budget decides t.
package struct DigitBudget: Sendable {
    /// The values of t that drafts are made for; between them bits are interpolated linearly in log t.
    package static let drafts: [Double] = (0..<8).map { 0.01 * Double(1 << $0) }
    /// The factor by which t may be adjusted for the bits that earlier layers have taken, since small layers with coarse units
    /// take far fewer bits than their drafts.
    private static let reach = 4.0
    /// The smallest ratio of taken to planned bits that is assumed of later layers.
    private static let leastRatio = 0.25

    private let counts: [Int]
    /// Bits of each layer for each draft.
    private let bits: [[Double]]
    /// The planned t, and the t for the remaining layers.
    private let plan: Double
    private(set) var level: Double
    /// The remaining layers, and the bits for them and all earlier ones together.
    private var open: Set<Int>
    private let share: Double
    /// The bits of the finished layers.
    package private(set) var spent = Spent()

    /// Bits that the finished layers were planned to take, and bits that they have taken.
    package struct Spent: Sendable, Equatable {
        /// Bytes of this in a message.
        package static let byteCount = 16

        fileprivate(set) var (planned, taken): (Double, Double) = (0, 0)

        package init() {}

        /// - Precondition: ``byteCount`` bytes.
        package init(bytes: [UInt8]) {
            planned = Double(bitPattern: bytes.littleEndian(at: 0))
            taken = Double(bitPattern: bytes.littleEndian(at: 8))
        }

        package var bytes: [UInt8] {
            var bytes: [UInt8] = []
            for value in [planned, taken] { bytes.append(littleEndian: value.bitPattern) }
            return bytes
        }
    }

    /// The error that a budget is out of reach, with the bits per weight that are possible.
    package struct Unreachable: Error, Equatable {
        package let least: Double, most: Double

        /// The least and the most bits a weight that are possible, in whole hundredths, if `extra` of them are taken by other
        /// things and the share `margin` is kept back.
        package func possible(extra: Double, margin: Double) -> (least: Double, most: Double) {
            func whole(_ bits: Double, _ rule: FloatingPointRoundingRule) -> Double {
                ((bits + extra) / (1 - margin) * 100).rounded(rule) / 100
            }
            return (whole(least, .up), whole(most, .down))
        }
    }

    /// - Parameters:
    ///   - counts: each layer's weights.
    ///   - bits: bits of each layer for each of ``drafts``.
    ///   - total: bits for all layers together.
    /// - Throws: ``Unreachable``.
    package init(counts: [Int], bits: [[Double]], total: Double) throws(Unreachable) {
        precondition(counts.count == bits.count && bits.allSatisfy { $0.count == Self.drafts.count }, "drafts of all layers")
        (self.counts, self.bits) = (counts, bits)
        let all = Set(counts.indices)
        let (most, least) = (
            Self.sum(all, bits, at: Self.drafts[0]), Self.sum(all, bits, at: Self.drafts[Self.drafts.count - 1])
        )
        let weights = Double(max(1, counts.reduce(0, +)))
        guard total <= most, total >= least else { throw Unreachable(least: least / weights, most: most / weights) }
        plan = Self.level(total, within: (Self.drafts[0], Self.drafts[Self.drafts.count - 1])) { Self.sum(all, bits, at: $0) }
        (level, open) = (plan, all)
        share = Self.sum(all, bits, at: plan)
    }

    /// A layer's ε at the present t.
    package func epsilon(_ layer: Int) -> Double { Self.epsilon(level, layer, of: counts) }

    /// A layer's ε for some t.
    package static func epsilon(_ level: Double, _ layer: Int, of counts: [Int]) -> Double {
        level * (Double(counts[layer]) * Double(counts.count) / Double(counts.reduce(0, +))).squareRoot()
    }

    /// Notes the bits that a layer has actually taken. The remaining layers make up for the difference.
    package mutating func note(_ layer: Int, bits taken: Double) {
        guard open.remove(layer) != nil else { return }
        spent.planned += Self.sum([layer], bits, at: plan)
        spent.taken += taken
        follow()
    }

    /// Continues after layers that another rank has noted.
    package mutating func resume(after layers: some Sequence<Int>, _ spent: Spent) {
        open.subtract(layers)
        self.spent = spent
        follow()
    }

    private mutating func follow() {
        guard !open.isEmpty, spent.planned > 0 else { return }
        // The remaining layers are likely to deviate from their drafts by the same ratio.
        let (ratio, left) = (spent.taken / spent.planned, share - spent.taken)
        // Bits are not known for units finer than the finest draft.
        let ends = (max(plan / Self.reach, Self.drafts[0]), plan * Self.reach)
        level = Self.level(left / max(Self.leastRatio, ratio), within: ends) { [open, bits] in
            Self.sum(open, bits, at: $0)
        }
    }

    private static func sum(_ layers: Set<Int>, _ bits: [[Double]], at level: Double) -> Double {
        let place = min(max(log2(level / drafts[0]), 0), Double(drafts.count - 1))
        let first = min(Int(place), drafts.count - 2)
        let part = place - Double(first)
        return layers.sorted().reduce(0) { $0 + (1 - part) * bits[$1][first] + part * bits[$1][first + 1] }
    }

    /// The argument at which a decreasing function reaches a value.
    private static func level(
        _ value: Double, within ends: (Double, Double), _ function: (Double) -> Double
    ) -> Double {
        var (low, high) = ends
        for _ in 0..<50 {
            let middle = (low * high).squareRoot()
            if function(middle) > value { low = middle } else { high = middle }
        }
        return high
    }
}
