import LinearAlgebra
import TensorCore
import TestSupport
import Testing

@testable import Autograd

/// What a tape's precision says of each product: that its factors are rounded to bfloat16, and nothing else.
@Suite struct PrecisionTests {
    private func rounded(_ x: Tensor) -> Tensor {
        Tensor(x.elements.map { BFloat16.widen(BFloat16.narrow($0)) }, x.shape)
    }

    private func inputs(_ shapes: [[Int]]) -> [Tensor] {
        var random = RandomStream(seed: 71)
        return shapes.map { Tensor(normal: $0, from: &random) }
    }

    /// y, and ∂/∂x and ∂/∂W of Σ dy∘y.
    private func linear(_ x: Tensor, _ weight: Tensor, _ dy: Tensor, _ precision: ProductPrecision) throws -> [Tensor] {
        let tape = Tape(precision: precision)
        let (x, weight) = (Variable(parameter: x), Variable(parameter: weight))
        let y = tape.linear(x, LinearLayer(weight: weight))
        let value = y.value
        tape.backward(from: y, gradient: dy.copy())
        return [value, try #require(x.gradient), try #require(weight.gradient)]
    }

    @Test func `a linear layer multiplies rounded factors, forward and backward`() throws {
        let all = inputs([[9, 70], [33, 70], [9, 33]])
        let results = try linear(all[0], all[1], all[2], .bfloat16)
        let (x, weight, dy) = (rounded(all[0]), rounded(all[1]), rounded(all[2]))
        let expected = [
            matmul(x, .asStored, weight, .transposed), matmul(dy, .asStored, weight), matmul(dy, .transposed, x),
        ]
        let exact = try linear(all[0], all[1], all[2], .float32)
        for ((result, expected), exact) in zip(zip(results, expected), exact) {
            #expect(maxDifference(result, expected) < 1e-4)
            #expect(maxDifference(result, exact) > 1e-3)
        }
    }

    /// A matrix of floats that is read whenever it is used.
    private struct Unread: LinearOperator {
        let tensor: Tensor
        var shape: [Int] { tensor.shape }
        var byteCount: Int { 0 }
        var isResident: Bool { false }
        func product(_ x: Tensor) -> Tensor { matmul(x, .asStored, tensor, .transposed) }
    }

    @Test func `a matrix that stays in its file is multiplied as one in memory`() {
        let all = inputs([[9, 70], [33, 70]])
        for precision in ProductPrecision.allCases {
            func products(_ weight: StoredTensor) -> [Tensor] {
                let layer = LinearLayer(weight: Variable(constant: weight))
                let tape = Tape(recording: false, precision: precision)
                let x = Variable(constant: all[0])
                return (tape.linears(x, [layer, layer]) + [tape.linear(x, layer)]).map(\.value)
            }
            let (unread, inMemory) = (products(StoredTensor(Unread(tensor: all[1]))), products(StoredTensor(all[1])))
            for (a, b) in zip(unread, inMemory) { #expect(a.elements == b.elements) }
        }
    }

    /// The same of x·R, and of what is computed again in the backward pass.
    @Test func `constant factors are rounded, and recomputed ones`() throws {
        let all = inputs([[9, 16], [16, 16], [9, 16]])
        let (x, r, dy) = (rounded(all[0]), rounded(all[1]), rounded(all[2]))
        let tape = Tape(precision: .bfloat16)
        let input = Variable(parameter: all[0])
        let y = tape.recomputing { $0.product(input, constant: all[1]) }
        #expect(maxDifference(y.value, matmul(x, .asStored, r)) < 1e-4)
        tape.backward(from: y, gradient: all[2].copy())
        #expect(maxDifference(try #require(input.gradient), matmul(dy, .asStored, r, .transposed)) < 1e-4)
    }

    @Test func `the loss multiplies hidden states and head in the tape's precision`() throws {
        let all = inputs([[6, 24], [50, 24], [6, 24]])
        func loss(_ factors: [Tensor], _ precision: ProductPrecision) throws -> (sum: Double, gradients: [Tensor]) {
            let tape = Tape(precision: precision)
            let (x, head) = (Variable(parameter: factors[0]), Variable(parameter: factors[1]))
            let result = tape.languageModelLoss(
                x, head: head, .teacher(hidden: factors[2], head: Variable(constant: factors[1])), scale: 1)
            tape.backward(from: result.loss, gradient: Tensor([1], []))
            return (result.sum, [try #require(x.gradient), try #require(head.gradient)])
        }
        let narrow = try loss(all, .bfloat16)
        let expected = try loss(all.map(rounded), .float32)
        #expect(abs(narrow.sum - expected.sum) < 1e-4 * expected.sum)
        #expect(abs(narrow.sum - (try loss(all, .float32)).sum) > 1e-4 * expected.sum)
        // The slopes of the logits are rounded, too: 2⁻⁹ of each.
        for (a, b) in zip(narrow.gradients, expected.gradients) {
            #expect(maxDifference(a, b) > 0 && maxDifference(a, b) < 1 / 256 * 24 * b.maxMagnitude)
        }
    }
}
