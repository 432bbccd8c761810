import Autograd
import CKernels
import Foundation
import LinearAlgebra
import TensorCore
import TestSupport
import Testing

@testable import Models

/// Drawing one token after the other through the cache of keys and values.
@Suite struct DecodingTests {
    private func configuration(_ family: LlamaConfiguration.Family, keyValueHeads: Int, bias: Bool) -> LlamaConfiguration {
        LlamaConfiguration(
            family: family, vocabularySize: 40, hiddenSize: 32, intermediateSize: 48, layers: 2, heads: 4,
            keyValueHeads: keyValueHeads,
            headDimension: 8, maximumPositions: 64, normEpsilon: 1e-5,
            rotary: RotaryScaling(base: 10_000, kind: .linear(factor: 2)),
            tiedEmbeddings: false, inputBias: bias, outputBias: bias, feedForwardBias: bias)
    }

    private func parameters(_ c: LlamaConfiguration) -> Parameters<Variable> {
        var random = RandomStream(seed: 71)
        return c.architecture.parameters().map { _, spec in
            let deviation = spec.shape.count == 1 ? 1 : 1 / Double(spec.shape[1]).squareRoot()
            return Variable(constant: Tensor(normal: spec.shape, deviation: deviation, from: &random))
        }
    }

    /// Heads of their own, shared heads, biases, and Qwen3's norms of q and k.
    @Test(arguments: [(LlamaConfiguration.Family.llama, 4, false), (.mistral, 2, false), (.qwen2, 1, true), (.qwen3, 2, false)])
    func `decoding through the cache gives the hidden states of the whole sequence`(
        _ family: LlamaConfiguration.Family, keyValueHeads: Int, bias: Bool
    ) {
        let c = configuration(family, keyValueHeads: keyValueHeads, bias: bias)
        let parameters = parameters(c)
        let (sequences, length) = (3, 21)
        let model = c.description.model(positions: length)
        let tokens = (0..<sequences).map { i in
            (0..<length).map { (j: Int) -> Int32 in Int32((j * 7 + i * 11 + j * j) % c.vocabularySize) }
        }
        let whole = model.hiddenStates(
            .tokens(tokens.flatMap(\.self)), parameters, context: CausalBatch(sequences: sequences, length: length),
            on: Tape(recording: false)
        ).value
        let drawing = SequenceDrawing(model, parameters, length: length, seed: 0, streams: 0..<UInt64(sequences))
        for position in 0..<length {
            let hidden = drawing.advance(.tokens(tokens.map { $0[position] }))
            for i in 0..<sequences {
                let expected = whole.rows(i * length + position..<i * length + position + 1)
                #expect(maxDifference(hidden.rows(i..<i + 1), expected) < 2e-5, "position \(position) of sequence \(i)")
            }
        }
    }

    /// 40,000 draws of twelve tokens: every share is within five standard deviations of its probability.
    @Test(arguments: [1, 0.5] as [Float]) func `tokens are drawn with the softmax's probabilities`(temperature: Float) {
        var random = RandomStream(seed: 72)
        let (count, draws) = (12, 40_000)
        let logits = Tensor(normal: [1, count], deviation: 1.5, from: &random)
        var scratch = Tensor(uninitialized: [count])
        var drawn = [Int](repeating: 0, count: count)
        for _ in 0..<draws {
            drawn[ck_sample(logits.pointer, temperature, Float(random.uniform()), scratch.mutablePointer, count)] += 1
        }
        let weights = logits.elements.map { exp(Double($0) / Double(temperature)) }
        let sum = weights.reduce(0, +)
        for (times, weight) in zip(drawn, weights) {
            let probability = weight / sum
            let deviation = (Double(draws) * probability * (1 - probability)).squareRoot()
            #expect(abs(Double(times) - Double(draws) * probability) < 5 * deviation + 1)
        }
    }

    /// The cumulative probability decides, at its ends too.
    @Test func `the first and the last possible token are drawn at the ends of the interval`() {
        let logits: [Float] = [-200, 1, 0, 1, -200]
        var scratch = [Float](repeating: 0, count: 5)
        #expect(ck_sample(logits, 1, 0, &scratch, 5) <= 1)
        #expect(ck_sample(logits, 1, 1 - 0x1p-24, &scratch, 5) == 3)
        #expect(ck_sample(logits, 1, 1, &scratch, 5) == 1)
        // Of a large vocabulary, whose sum is none of float32.
        let many = (0..<128_256).map { $0 == 128_255 ? -200 : sin(Float($0)) }
        var room = [Float](repeating: 0, count: many.count)
        for step in 1...64 {
            let uniform = 1 - Float(step) * 0x1p-24
            #expect(ck_sample(many, 1, uniform, &room, many.count) < many.count - 1, "\(uniform)")
        }
        // At a low temperature the two largest share all there is.
        #expect(ck_sample(logits, 0.1, 0.25, &scratch, 5) == 1 && ck_sample(logits, 0.1, 0.75, &scratch, 5) == 3)
    }
}
