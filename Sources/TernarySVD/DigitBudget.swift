internal import Glibc
internal import Support

/// Bits divided among layers by the slope of their errors: one more or less changes every layer's loss, as a share of its
/// output's energy, by the same.
///
/// A layer that loses the share ε² of its energy has units of unit² = 12·ε²·energy/(m·n), and a bit more for each number takes
/// three quarters of that away: so ε²/(m·n) is the same for all, ε = t·√(m·n/mean m·n), and t is what the budget decides.
package struct DigitBudget: Sendable {
    /// The t that drafts are made for; between them bits are linear in its logarithm.
    package static let drafts: [Double] = (0..<8).map { 0.01 * Double(1 << $0) }
    /// How far t follows what the layers so far have taken: small layers at coarse units take much less than drafts say.
    private static let reach = 4.0
    /// The least share of what it should take that a draft is trusted with.
    private static let leastRatio = 0.25

    private let counts: [Int]
    /// Of each layer, its bits for each draft.
    private let bits: [[Double]]
    /// t as planned, and of the layers still to come.
    private let plan: Double
    private(set) var level: Double
    /// Layers still to come, and what they and those before them may take.
    private var open: Set<Int>
    private let share: Double
    /// What is behind.
    package private(set) var spent = Spent()

    /// What the layers so far were to take, and what they have taken.
    package struct Spent: Sendable, Equatable {
        /// As a message has them.
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

    /// Bits a weight that the layers can have.
    package struct Unreachable: Error, Equatable {
        package let least: Double, most: Double
    }

    /// - Parameters:
    ///   - counts: each layer's weights.
    ///   - bits: of each layer, what it takes for each of ``drafts``.
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

    /// A layer's ε as things stand.
    package func epsilon(_ layer: Int) -> Double { Self.epsilon(level, layer, of: counts) }

    /// A layer's ε for some t.
    package static func epsilon(_ level: Double, _ layer: Int, of counts: [Int]) -> Double {
        level * (Double(counts[layer]) * Double(counts.count) / Double(counts.reduce(0, +))).squareRoot()
    }

    /// What a layer has really taken: those still to come make up for the difference.
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
        // What the others will take is off by as much, most likely.
        let (ratio, left) = (spent.taken / spent.planned, share - spent.taken)
        // Below the finest draft nobody knows what a layer takes.
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

    /// Where a falling function comes down to a value.
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
