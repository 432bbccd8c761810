import Autograd
import Collectives
import Foundation
import LinearAlgebra
import Models
import Parallelism
import TensorCore
import TestSupport
import Testing

@testable import Evaluation

/// Perplexity and divergence against their formulas, from logits, in double precision.
@Suite struct ScoreTests {
    private static let configuration = LlamaConfiguration(
        family: .llama, vocabularySize: 30, hiddenSize: 16, intermediateSize: 24, layers: 1, heads: 2, keyValueHeads: 1,
        headDimension: 8, maximumPositions: 32, normEpsilon: 1e-5, rotary: RotaryScaling(base: 10_000), tiedEmbeddings: true,
        inputBias: false, outputBias: false, feedForwardBias: false)
    private static let windows = (0..<5).map { i in
        (0..<12).map { (j: Int) -> Int32 in Int32((j * 7 + i * 5 + j * j * i) % 30) }
    }

    private func parameters(seed: UInt64) -> Parameters<Tensor> {
        var random = RandomStream(seed: seed)
        return Self.configuration.architecture.parameters().map { _, spec in
            Tensor(normal: spec.shape, deviation: spec.shape.count == 1 ? 1 : 0.5, from: &random)
        }
    }

    private func logProbabilities(_ parameters: Parameters<Tensor>, _ tokens: [Int32]) -> [[Double]] {
        let logits = Self.configuration.description.model(positions: tokens.count).logits(tokens, parameters)
        return (0..<logits.rows).map { i in
            let row = (0..<logits.columns).map { Double(logits[i, $0]) }
            let top = row.max()!
            let sum = row.reduce(0.0) { $0 + exp($1 - top) }
            return row.map { $0 - top - log(sum) }
        }
    }

    private func score(
        _ parameters: Parameters<Tensor>, against reference: Parameters<Tensor>?, _ windows: [[Int32]] = windows
    ) throws -> LanguageModelScore {
        let model = Self.configuration.description.model(positions: 12)
        return try evaluate(
            model.constantNetwork(parameters), against: reference.map { model.constantNetwork($0) }, windows: windows,
            ParallelGroups.dataParallel(LoopbackCommunicator()))
    }

    @Test func `the agreement is the share of positions with the same likeliest token`() throws {
        let (one, other) = (parameters(seed: 91), parameters(seed: 92))
        var near = one
        for block in 0..<2 {
            for index in near.blocks[block].specs.indices {
                near.blocks[block][index].add(other.blocks[block][index], scale: 0.1)
            }
        }
        func best(_ parameters: Parameters<Tensor>, _ window: [Int32]) -> [Int] {
            logProbabilities(parameters, window).map { row in row.indices.max { row[$0] < row[$1] } ?? 0 }
        }
        let same = Self.windows.flatMap { window in zip(best(near, window), best(one, window)).map { $0 == $1 ? 1.0 : 0 } }
        let expected = same.reduce(0, +) / Double(same.count)
        #expect(expected > 0 && expected < 1)
        #expect(try score(near, against: one).agreement == expected)
        #expect(try score(one, against: one).agreement == 1)
        #expect(try score(one, against: nil).agreement == nil)
    }

    @Test func `perplexity is exp of the mean −log p of all tokens but the first of a window`() throws {
        let parameters = parameters(seed: 91)
        var sum = 0.0
        for window in Self.windows {
            let p = logProbabilities(parameters, window)
            for position in 1..<window.count { sum -= p[position - 1][Int(window[position])] }
        }
        let expected = exp(sum / Double(5 * 11))
        let score = try score(parameters, against: nil)
        #expect(abs(score.perplexity - expected) < 1e-5 * expected)
        #expect(score.klDivergence == nil)
    }

    @Test func `divergence is the mean over all positions of Σ p·log(p/q), p the reference's`() throws {
        let (student, teacher) = (parameters(seed: 92), parameters(seed: 93))
        var sum = 0.0
        for window in Self.windows {
            for (q, p) in zip(logProbabilities(student, window), logProbabilities(teacher, window)) {
                for (log, other) in zip(p, q) { sum += exp(log) * (log - other) }
            }
        }
        let expected = sum / Double(5 * 12)
        let divergence = try #require(try score(student, against: teacher).klDivergence)
        #expect(abs(divergence - expected) < 1e-5 * expected)
        // The other way round it is another number.
        let reversed = try #require(try score(teacher, against: student).klDivergence)
        #expect(abs(reversed - expected) > 1e-2 * expected)
        #expect(abs(try #require(try score(student, against: student).klDivergence)) < 1e-6)
    }

    @Test func `no window is an error, and so is a network that gives no number`() throws {
        #expect(throws: EvaluationError.self) { try score(parameters(seed: 94), against: nil, []) }
        var broken = parameters(seed: 94)
        broken.exit[0][flat: 0] = .nan
        #expect(throws: EvaluationError.self) { try score(broken, against: nil) }
    }

    @Test func `different logits are apart by the largest change relative to the largest logit`() throws {
        let (a, b) = (Tensor([1, -4, 2], [3]), Tensor([1, -4, 3], [3]))
        #expect(relativeLogitChange(a, b) == 0.25 && relativeLogitChange(a, a) == 0)
        #expect(relativeLogitChange(a, Tensor([1, .nan, 2], [3])).isNaN)
        let tokens = Self.windows[0]
        let groups = try ParallelGroups.dataParallel(LoopbackCommunicator())
        let model = Self.configuration.description.model(positions: 12)
        let (one, other) = (parameters(seed: 95), parameters(seed: 96))
        #expect(try model.logitChange(tokens, one, one, groups) == 0)
        let change = try model.logitChange(tokens, one, other, groups)
        #expect(abs(change - relativeLogitChange(model.logits(tokens, one), model.logits(tokens, other))) < 1e-6)
        #expect(change > 0.1)
    }
}
