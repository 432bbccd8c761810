import Evaluation
import Testing

@testable import Configuration
@testable import Runs

@Suite struct ImprovementTests {
    @Test(arguments: [
        (30.0, 29.0, Improvement.Change.better), (30, 30, .unchanged), (30, 30 * (1 + 1e-9), .unchanged),
        (30, 29.9999, .unchanged),
        (30, 30.01, .worse),
    ])
    func `only a change beyond rounding makes a model better or worse`(
        _ before: Double, _ after: Double, _ change: Improvement.Change
    ) {
        let improvement = Improvement(before: before, after: after)
        #expect(improvement.change == change)
        #expect(improvement.line.hasPrefix("warning: training has made the model worse: perplexity") == (change == .worse))
    }

    @Test func `divergence decides where there is one`() {
        func change(_ before: (Double, Double), _ after: (Double, Double)) -> Improvement.Change {
            Improvement(
                before: LanguageModelScore(perplexity: before.0, klDivergence: before.1),
                after: LanguageModelScore(perplexity: after.0, klDivergence: after.1)
            ).change
        }
        #expect(change((33.2298, 0.1336), (33.2569, 0.1298)) == .better)
        #expect(change((31, 1.7609), (30, 1.7915)) == .worse)
        // At 16 bits there is nothing but rounding.
        #expect(change((30, 2e-9), (30, -1.3e-9)) == .unchanged)
    }

    @Test(arguments: [
        (0.00431, 0.00434, "KL 0.00431 → 0.00434, perplexity 30.00 → 30.00"),
        (0.004301, 0.0043, "KL 0.004301 → 0.004300, perplexity"), (0.1, 0.2, "KL 0.1000 → 0.2000, perplexity"),
        (0.0043, 0.0043, "KL 0.0043 → 0.0043, perplexity"), (2e-9, -1e-6, "KL 0.000000 → -0.000001, perplexity"),
    ])
    func `numbers that have changed are not printed alike`(_ before: Double, _ after: Double, _ text: String) {
        let line = Improvement(
            before: LanguageModelScore(perplexity: 30, klDivergence: before),
            after: LanguageModelScore(perplexity: 30, klDivergence: after)
        ).line
        #expect(line.contains(text), "\(line)")
        #expect(Improvement(before: 30, after: 29.996).line.hasSuffix("perplexity 30.000 → 29.996"))
    }

    @Test func `weights learned finer than they are used are what to change first`() throws {
        func line(_ settings: String...) throws -> String {
            let remedy = try RunConfig(assignments: settings).weightRemedy
            return Improvement(
                before: LanguageModelScore(perplexity: 30, klDivergence: 0.1),
                after: LanguageModelScore(perplexity: 31, klDivergence: 0.2),
                remedy: remedy
            ).line
        }
        #expect(try line("quantization.weights.bits=4").contains("--set rotation.train_weight_bits=4"))
        #expect(!(try line("quantization.weights.bits=4", "rotation.train_weight_bits=4").contains("train_weight_bits")))
        #expect(!(try line().contains("train_weight_bits")))
    }
}
