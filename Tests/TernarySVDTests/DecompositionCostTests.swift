import TensorCore
import Testing

@testable import TernarySVD

/// What decomposing is counted to cost, against what the loops do.
@Suite struct DecompositionCostTests {
    private static let settings: [(TernaryOptions.Mode, refinement: Bool, tolerance: Float)] = [
        (.default, true, 0.1), (.default, true, 0.3), (.default, false, 0.2), (.reference, true, 0.2),
    ]

    @Test(arguments: settings, [[64, 96], [200, 48]])
    func `rounds are those that the decomposition takes`(
        _ setting: (TernaryOptions.Mode, refinement: Bool, tolerance: Float), _ shape: [Int]
    ) throws {
        var random = RandomStream(seed: 7)
        let weight = Tensor(normal: shape, from: &random)
        var options = TernaryOptions(tolerance: setting.tolerance, mode: setting.0)
        options.refinement = setting.refinement
        var looks = 0
        let made = try TernaryDecomposition(weight, options) { looks += 1 }
        // The last look finds nothing left to add.
        let rounds = looks - 1
        let cost = options.cost(rows: shape[0], columns: shape[1], components: made.componentCount)
        #expect(rounds > 10)
        #expect(abs(Double(cost.rounds) / Double(rounds) - 1) < 0.05, "\(cost.rounds) for \(rounds)")
        #expect((cost.decompositions > 0) == (setting.0 == .reference))
        #expect((cost.entries > 0) == options.refines)
    }

    /// 2048 components and more come in large steps, the last of which is no larger than it must be.
    @Test func `many components are no more than a forecast asks for`() throws {
        let options = TernaryOptions(tolerance: 0.1)
        for count in [2060, 2130, 2200] {
            // Of each pair both sides, three times and once more.
            let projections = options.cost(rows: 512, columns: 512, components: count).projections
            #expect(projections == 0.5 * 7 * Double(count * 1024))
        }

        var random = RandomStream(seed: 7)
        let weight = Tensor(normal: [320, 320], from: &random)
        let fine = TernaryOptions(tolerance: 3e-4)
        var looks = 0
        let made = try TernaryDecomposition(weight, fine) { looks += 1 }
        #expect(made.componentCount > GreedyDecomposer.manyComponents)
        let cost = fine.cost(rows: 320, columns: 320, components: made.componentCount)
        #expect(abs(Double(cost.rounds) / Double(looks - 1) - 1) < 0.05, "\(cost.rounds) for \(looks - 1)")
    }

    @Test func `a round of the descent on outputs costs more the more columns, and the cube of many components`() {
        func cost(_ m: Int, _ n: Int, _ k: Int) -> (products: Double, solves: Double) {
            WeightedDescent.roundCost(rows: m, columns: n, components: k)
        }
        #expect(cost(64, 64, 64).products == 34 * 64 * 64 * 64)
        #expect(cost(64, 256, 64).products > cost(256, 64, 64).products)
        #expect(cost(8, 8, 400).solves == 8 * cost(8, 8, 200).solves)
    }

    @Test func `a round of many components descends once, of few twice`() {
        let options = TernaryOptions(tolerance: 0.1)
        func sums(_ components: Int) -> Double { options.cost(rows: 512, columns: 512, components: components).sums }
        // A round's sums are 5 for each descent and another for its own, of all components there are.
        let (few, many) = (sums(500) - sums(484), sums(1000) - sums(939))
        #expect(few / 500 > 1.5 * many / 1000)
    }

    @Test func `a matrix costs the same as its transpose, and more the more components`() {
        for mode in TernaryOptions.Mode.allCases {
            let options = TernaryOptions(tolerance: 0.1, mode: mode)
            let costs = [100, 200, 400].map { options.cost(rows: 128, columns: 256, components: $0) }
            #expect(costs[1] == options.cost(rows: 256, columns: 128, components: 200))
            #expect(costs[2].sums > 1.5 * costs[1].sums && costs[1].sums > 1.5 * costs[0].sums)
        }
    }
}
