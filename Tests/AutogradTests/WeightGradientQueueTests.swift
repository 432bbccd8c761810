import TensorCore
import TestSupport
import Testing

@testable import Autograd

@Suite struct WeightGradientQueueTests {
    private struct Gradients: Equatable {
        var x: [Float] = []
        var w: [Float] = []
        var v: [Float] = []
        var bias: [Float] = []
    }

    /// Passes of (x·Wᵀ + b)·Wᵀ·Vᵀ, in which W is used twice.
    private struct Network {
        let (w, v, b): (Variable, Variable, Variable)
        private let inputs: [Tensor]

        init() {
            var random = RandomStream(seed: 5)
            w = Variable(parameter: Tensor(normal: [6, 6], from: &random))
            v = Variable(parameter: Tensor(normal: [3, 6], from: &random))
            b = Variable(parameter: Tensor(normal: [6], from: &random))
            inputs = (0..<3).map { _ in Tensor(normal: [4, 6], from: &random) }
        }

        var passes: Int { inputs.count }

        /// The gradient of the pass's input.
        func pass(_ index: Int, _ queue: WeightGradientQueue?, w: Variable? = nil) -> [Float] {
            let (x, w) = (Variable(parameter: inputs[index]), w ?? self.w)
            let tape = Tape(weightGradients: queue)
            let y = tape.linear(tape.linear(x, LinearLayer(weight: w, bias: b)), LinearLayer(weight: w))
            tape.backward(from: tape.linear(y, LinearLayer(weight: v)), gradient: Tensor(repeating: 0.5, [4, 3]))
            queue?.endPass()
            return x.gradient?.elements ?? []
        }

        func gradients(_ x: [Float]) -> Gradients {
            Gradients(
                x: x, w: w.gradient?.elements ?? [], v: v.gradient?.elements ?? [], bias: b.gradient?.elements ?? [])
        }
    }

    @Test func `what is put off gives the bits of a pass that puts nothing off`() {
        let plain = Network()
        var x: [Float] = []
        for index in 0..<plain.passes { x += plain.pass(index, nil) }

        let (network, queue) = (Network(), WeightGradientQueue())
        var late: [Float] = []
        for index in 0..<network.passes { late += network.pass(index, queue) }
        #expect(queue.passCount == 3 && network.w.gradient == nil && network.v.gradient == nil)
        // Three products a pass.
        for left in [3, 3, 3, 2] {
            #expect(queue.passCount == left)
            queue.advance()
        }
        while queue.passCount > 0 { queue.advance() }
        #expect(network.gradients(late) == plain.gradients(x) && !x.isEmpty)
    }

    @Test func `a leaf hands its gradient over when the last product that was put off is in it`() throws {
        let plain = Network()
        _ = plain.pass(0, nil)
        let (network, queue) = (Network(), WeightGradientQueue())
        var received: [[Float]] = []
        let w = Variable(parameter: network.w.value) { received.append($0.elements) }
        _ = network.pass(0, queue, w: w)
        // v's, then one of the two that w has.
        for _ in 0..<2 { queue.advance() }
        #expect(received.isEmpty && queue.passCount == 1)
        queue.advance()
        #expect(received == [try #require(plain.w.gradient).elements])
    }

    @Test func `a recomputed body puts nothing off`() {
        let (network, queue) = (Network(), WeightGradientQueue())
        let tape = Tape(weightGradients: queue)
        let x = Variable(parameter: Tensor(repeating: 1, [4, 6]))
        let y = tape.recomputing { $0.linear(x, LinearLayer(weight: network.w)) }
        tape.backward(from: y, gradient: Tensor(repeating: 1, [4, 6]))
        queue.endPass()
        #expect(queue.passCount == 0 && network.w.gradient != nil)
    }
}
