import Models
import Parallelism
import TensorCore
import Testing

@Suite struct StageBalanceTests {
    /// Every way to cut `count` blocks into `stages` stretches.
    private func divisions(_ count: Int, _ stages: Int, from begin: Int = 0) -> [[Range<Int>]] {
        guard stages > 1 else { return [[begin..<count]] }
        return (begin + 1...count - stages + 1).flatMap { end in
            divisions(count, stages - 1, from: end).map { [begin..<end] + $0 }
        }
    }

    @Test func `no division has a cheaper most expensive stage`() {
        var random = RandomStream(seed: 1)
        for count in 1...8 {
            for stages in 1...count {
                let blocks = (0..<count).map { _ in random.uniform() }
                let (first, last) = (random.uniform(), 2 * random.uniform())
                func largest(_ division: [Range<Int>]) -> Double {
                    division.enumerated().map { index, range in
                        blocks[range].reduce(0, +) + (index == 0 ? first : 0) + (index == stages - 1 ? last : 0)
                    }.max() ?? 0
                }
                let chosen = StageBalance.divide(blocks: blocks, first: first, last: last, stages: stages)
                #expect(
                    chosen.count == stages && chosen.allSatisfy { !$0.isEmpty } && chosen.flatMap { $0 } == Array(0..<count))
                let best = divisions(count, stages).map(largest).min() ?? 0
                // Sums of the same terms in another order.
                #expect(largest(chosen) <= best * (1 + 1e-12))
            }
        }
    }

    @Test func `of equal divisions the one with smaller later stages is chosen`() {
        #expect(StageBalance.divide(blocks: [1, 1, 1, 1, 1, 1, 1], stages: 3) == [0..<3, 3..<6, 6..<7])
        // Nothing makes the last stage cheaper: the others are equal among themselves.
        #expect(StageBalance.divide(blocks: [1, 1, 1, 1, 1], last: 5, stages: 3) == [0..<2, 2..<4, 4..<5])
    }

    @Test func `a large head takes blocks from the last stage`() {
        #expect(StageBalance.divide(blocks: [1, 1, 1, 1, 1, 1], last: 2, stages: 2) == [0..<4, 4..<6])
        #expect(StageBalance.divide(blocks: [1, 1, 1, 1], last: 9, stages: 2) == [0..<3, 3..<4])
    }
}
