import Foundation
import TensorCore
import TestSupport
import Testing

@testable import Autograd

/// The losses against their formulas in double precision: values, and gradients for every logit.
@Suite struct LanguageModelLossTests {
    /// log softmax of a row, in double precision.
    private func logSoftmax(_ logits: [Double]) -> [Double] {
        let top = logits.max()!
        let sum = logits.reduce(0.0) { $0 + exp($1 - top) }
        return logits.map { $0 - top - log(sum) }
    }

    /// x·headᵀ, in double precision.
    private func logits(_ x: Tensor, _ head: Tensor) -> [[Double]] {
        (0..<x.rows).map { i in
            (0..<head.rows).map { v in (0..<x.columns).reduce(0.0) { $0 + Double(x[i, $1]) * Double(head[v, $1]) } }
        }
    }

    /// dx and d(head) that follow from the slopes of the logits.
    private func gradients(_ slopes: [[Double]], _ x: Tensor, _ head: Tensor) -> (x: Tensor, head: Tensor) {
        var (dx, dHead) = (Tensor(zeros: x.shape), Tensor(zeros: head.shape))
        for j in 0..<x.columns {
            for i in 0..<x.rows {
                var sum = 0.0
                for v in 0..<head.rows { sum += slopes[i][v] * Double(head[v, j]) }
                dx[i, j] = Float(sum)
            }
            for v in 0..<head.rows {
                var sum = 0.0
                for i in 0..<x.rows { sum += slopes[i][v] * Double(x[i, j]) }
                dHead[v, j] = Float(sum)
            }
        }
        return (dx, dHead)
    }

    /// Rows × vocabulary; the second has logits of more rows than exist at a time. Deviation 4 gives probabilities down to
    /// 1e-20.
    static let shapes = [(rows: 6, h: 5, vocabulary: 11, deviation: 0.5), (300, 4, 37, 1), (3, 8, 1000, 4)]

    private func inputs(_ shape: (rows: Int, h: Int, vocabulary: Int, deviation: Double)) -> (
        x: Tensor, head: Tensor, other: Tensor
    ) {
        var random = RandomStream(seed: 61)
        return (
            Tensor(normal: [shape.rows, shape.h], from: &random),
            Tensor(normal: [shape.vocabulary, shape.h], deviation: shape.deviation, from: &random),
            Tensor(normal: [shape.rows, shape.h], from: &random)
        )
    }

    private func check(
        _ target: LogitTarget, _ x: Tensor, _ head: Tensor, value: Double, slopes: [[Double]], scale: Double
    ) throws {
        let (input, weight) = (Variable(parameter: x), Variable(parameter: head))
        let tape = Tape()
        let (loss, sum) = tape.languageModelLoss(input, head: weight, target, scale: Float(scale))
        #expect(abs(sum - value) <= 2e-6 * max(value, 1))
        #expect(abs(Double(loss.value[flat: 0]) - scale * value) <= 4e-6 * max(scale * value, scale))
        tape.backward(from: loss, gradient: Tensor([1], []))
        let expected = gradients(slopes, x, head)
        #expect(relativeError(try #require(input.gradient), expected.x) < 1e-5)
        #expect(relativeError(try #require(weight.gradient), expected.head) < 1e-5)
    }

    @Test(arguments: shapes)
    func `divergence from a teacher is Σ p·log(p/q), with slope q − p`(
        _ shape: (rows: Int, h: Int, vocabulary: Int, deviation: Double)
    ) throws {
        let (x, head, other) = inputs(shape)
        let scale = 0.37
        let p = logits(other, head).map(logSoftmax), q = logits(x, head).map(logSoftmax)
        var value = 0.0
        var slopes: [[Double]] = []
        for (teacher, student) in zip(p, q) {
            for (log, other) in zip(teacher, student) { value += exp(log) * (log - other) }
            slopes.append(zip(teacher, student).map { log, other in scale * (exp(other) - exp(log)) })
        }
        try check(.teacher(hidden: other, head: Variable(constant: head)), x, head, value: value, slopes: slopes, scale: scale)
    }

    @Test(arguments: shapes)
    func `cross entropy is −log q of the target, with slope q − 1`(
        _ shape: (rows: Int, h: Int, vocabulary: Int, deviation: Double)
    ) throws {
        let (x, head, _) = inputs(shape)
        let scale = 0.37
        // Every third row is not counted.
        let tokens = (0..<shape.rows).map { $0 % 3 == 2 ? -1 : Int32($0 * 7 % shape.vocabulary) }
        let q = logits(x, head).map(logSoftmax)
        var value = 0.0
        var slopes = [[Double]](repeating: [Double](repeating: 0, count: shape.vocabulary), count: shape.rows)
        for (i, token) in tokens.enumerated() where token >= 0 {
            value -= q[i][Int(token)]
            for v in q[i].indices { slopes[i][v] = scale * (exp(q[i][v]) - (v == Int(token) ? 1 : 0)) }
        }
        try check(.tokens(tokens), x, head, value: value, slopes: slopes, scale: scale)
    }

    @Test func `a network diverges from itself by nothing`() {
        let (x, head, _) = inputs((rows: 4, h: 5, vocabulary: 50, deviation: 1))
        let weight = Variable(constant: head)
        let sum = Tape(recording: false)
            .languageModelLoss(Variable(constant: x), head: weight, .teacher(hidden: x, head: weight), scale: 1).sum
        #expect(abs(sum) < 1e-6)
    }
}
