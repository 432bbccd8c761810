import Autograd
import Collectives
import TensorCore
import TestSupport
import Testing

@testable import Parallelism

@Suite struct DeferredGradientTests {
    /// A rank alone waits for nothing: what may be put off is, and no more.
    @Test(arguments: 0...3) func `products of no more backward passes than allowed are put off`(_ deferred: Int) throws {
        let queue = WeightGradientQueue()
        let weight = Variable(parameter: Tensor(repeating: 1, [2, 2]))
        let executor = PipelineExecutor(LoopbackCommunicator())
        var left: [Int] = []
        try executor.run(
            PipelineSchedule.oneForwardOneBackward.actions(stage: 0, stages: 1, microbatches: 5), shape: { _ in [1, 2] },
            streams: 1, weightGradients: queue, deferred: deferred,
            forward: { _, _ in
                left.append(queue.passCount)
                return []
            },
            backward: { _, _ in
                let tape = Tape(weightGradients: queue)
                let y = tape.linear(Variable(constant: Tensor(repeating: 1, [1, 2])), LinearLayer(weight: weight))
                tape.backward(from: y, gradient: Tensor(repeating: 1, [1, 2]))
                return nil
            })
        #expect(left == (0..<5).map { min($0, deferred) })
        #expect(queue.passCount == 0 && weight.gradient?.elements == [5, 5, 5, 5])
        #expect(executor.timing.weightGradients > 0 && executor.timing.total >= executor.timing.weightGradients)
    }
}
