import Evaluation
import Quantization
import Testing

@testable import Configuration
@testable import Runs

/// What a table is followed by where its last row is no good.
@Suite struct ScoreTableWarningTests {
    private func table(plain: Double?, last: Double, _ key: String = "quantized", _ bits: NetworkBits? = nil) -> ScoreTable {
        let own = NetworkBits(weights: 4, activations: 16, keys: 16, values: 16)
        var table = ScoreTable(own, windows: 4, length: 48)
        table.add(ScoreTable.fullPrecision, "full precision", .full, .reference(perplexity: 30))
        if let plain {
            table.add(
                RoundToNearest.name, RoundToNearest.label, own, LanguageModelScore(perplexity: 31, klDivergence: plain))
        }
        table.add(key, "as written", bits ?? own, LanguageModelScore(perplexity: 3267.04, klDivergence: last))
        return table
    }

    @Test func `a result far from full precision is said to be, with what helps of what was not done`() throws {
        func warning(_ last: Double, _ job: ModelJob, _ settings: String...) throws -> String? {
            try table(plain: 5, last: last).distanceWarning(RunConfig(assignments: settings), job)
        }
        #expect(try warning(0.99, .quantize) == nil)
        let tensor = try #require(
            try warning(4.7, .quantize, "quantization.weights.bits=4", "quantization.weights.granularity=tensor"))
        #expect(tensor.hasPrefix("warning: 'as written' is far from full precision (KL 4.70 nats a token, perplexity 3267.04)"))
        #expect(tensor.contains("quantization.weights.granularity=channel") && tensor.contains("quantize.recipe=auto"))
        let rows = try #require(
            try warning(
                1.01, .rotate, "quantization.weights.bits=2", "quantization.activations.bits=16", "quantize.recipe=auto"))
        #expect(rows.contains("granularity=group") && !rows.contains("recipe=auto") && !rows.contains("activations"))
        let factors = try #require(try warning(3, .ptq, "ternary.tolerance=0.5", "quantization.activations.bits=4"))
        #expect(factors.hasSuffix("(ternary.weighting=both), or a smaller ternary.tolerance"))
        #expect(try warning(3, .ptq, "ternary.weighting=both")?.contains("weighting") == false)
        let inputs = try warning(3, .quantize, "quantization.activations.bits=4")
        #expect(inputs?.contains("activations.bits=8") == true)
    }

    @Test func `a rotated network worse than the plain one of the same bits is said to be`() {
        let warning = table(plain: 0.2, last: 0.3).rotationWarning(steps: "training.steps")
        #expect(warning?.contains("(KL 0.3000 against 0.2000); give it more steps (training.steps), or leave") == true)
        #expect(table(plain: 0.2, last: 0.3).rotationWarning(steps: nil)?.contains("0.2000); leave the rotations out") == true)
        #expect(table(plain: 0.3, last: 0.2).rotationWarning(steps: nil) == nil)
        #expect(table(plain: nil, last: 0.3).rotationWarning(steps: nil) == nil)
        #expect(table(plain: 0.2, last: 0.3, "ternary", .factors).rotationWarning(steps: nil) == nil)
    }
}
