import Foundation
import TensorCore
import Testing

@testable import Generation

@Suite struct TokenChoiceTests {
    private let logits = Tensor([1, 3, -1, 3, 0.5, 2], [6])

    @Test func `without a temperature the first of the largest logits is taken`() {
        var choice = TokenChoice()
        for _ in 0..<5 { #expect(choice.next(logits) == 1) }
    }

    @Test func `logits that are no numbers choose nothing`() {
        var (greedy, drawing) = (TokenChoice(), TokenChoice(temperature: 1))
        for strange in [Float.nan, .infinity] {
            let logits = Tensor([1, strange, 0], [3])
            #expect(greedy.next(logits) == nil && drawing.next(logits) == nil)
        }
    }

    /// 40,000 draws: each share is within five standard deviations of the probability in the nucleus, and nothing outside it
    /// is drawn.
    @Test(arguments: [(1, 1), (0.7, 0.9), (2, 0.5), (1, 0.999)])
    func `tokens are drawn from the nucleus with its probabilities`(
        temperature: Double, topP: Double
    ) throws {
        let weights = logits.elements.map { exp(Double($0) / temperature) }
        let sum = weights.reduce(0, +)
        var (nucleus, reached) = (Set<Int>(), 0.0)
        for index in weights.indices.sorted(by: { (weights[$1], $0) < (weights[$0], $1) }) where reached < topP * sum {
            nucleus.insert(index)
            reached += weights[index]
        }
        var choice = TokenChoice(temperature: temperature, topP: topP, seed: 5)
        var counts = [Int](repeating: 0, count: 6)
        let draws = 40_000
        for _ in 0..<draws {
            let token = choice.next(logits)
            counts[Int(try #require(token))] += 1
        }
        for index in counts.indices {
            guard nucleus.contains(index) else {
                #expect(counts[index] == 0)
                continue
            }
            let probability = weights[index] / reached
            let deviation = (Double(draws) * probability * (1 - probability)).squareRoot()
            #expect(abs(Double(counts[index]) - Double(draws) * probability) < 5 * deviation + 1)
        }
    }

    @Test func `a seed draws the same tokens again, and another one others`() {
        func drawn(_ seed: UInt64) -> [Int32?] {
            var choice = TokenChoice(temperature: 1.5, topP: 0.95, seed: seed)
            return (0..<40).map { _ in choice.next(logits) }
        }
        #expect(drawn(1) == drawn(1))
        #expect(drawn(1) != drawn(2))
    }
}
