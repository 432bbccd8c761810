import Support
import TensorCore
import Testing

@testable import Autograd

@Suite struct GradientReceiverTests {
    /// Notes in which order gradients come, and what they are.
    private final class Log {
        var entries: [(name: String, gradient: [Float])] = []
    }

    private func leaf(_ name: String, _ value: [Float], _ log: Log) -> Variable {
        Variable(parameter: Tensor(value, [1, value.count])) { log.entries.append((name, $0.elements)) }
    }

    @Test func `a gradient is handed over once, complete, before earlier operations are gone through`() {
        let log = Log()
        let (a, b, c) = (leaf("a", [1, 2], log), leaf("b", [3, 4], log), leaf("c", [5, 6], log))
        let tape = Tape()
        // a is used first and last, b and c once each.
        let y = tape.add(tape.add(tape.add(a, b), c), a)
        tape.backward(from: y, gradient: Tensor([1, 10], [1, 2]))
        #expect(log.entries.map(\.name) == ["c", "a", "b"] || log.entries.map(\.name) == ["c", "b", "a"])
        #expect(log.entries.first { $0.name == "a" }?.gradient == [2, 20])
        #expect(log.entries.first { $0.name == "c" }?.gradient == [1, 10])
        #expect(a.gradient == nil)
    }

    @Test func `parameters of a recomputed body hand over in the body's own pass`() {
        let log = Log()
        let (x, w) = (Variable(parameter: Tensor([1, 2], [1, 2])), leaf("w", [3, 4], log))
        let tape = Tape()
        let y = tape.recomputing { tape in tape.add(x, w) }
        tape.backward(from: y, gradient: Tensor([1, 1], [1, 2]))
        #expect(log.entries.map(\.name) == ["w"])
        #expect(log.entries.first?.gradient == [1, 1])
        #expect(x.gradient?.elements == [1, 1])
    }

    @Test func `a gradient that grows stays where it is`() {
        let x = Variable(parameter: Tensor(zeros: [64, 64]))
        var places: [UnsafeMutablePointer<Float>] = []
        for _ in 0..<3 {
            x.sink.update { gradient, beta in
                places.append(gradient.mutablePointer)
                if beta == 0 { gradient.fill(0) }
                gradient[1, 2] += 1
            }
        }
        #expect(Set(places).count == 1)
        #expect(x.gradient?[1, 2] == 3)
    }

    @Test func `a leaf that nothing reaches hands nothing over`() {
        let log = Log()
        let (a, b) = (leaf("a", [1], log), leaf("b", [2], log))
        let tape = Tape()
        _ = tape.add(b, b)
        let y = tape.add(a, a)
        tape.backward(from: y, gradient: Tensor([1], [1, 1]))
        #expect(log.entries.map(\.name) == ["a"])
        #expect(log.entries.first?.gradient == [2])
    }
}
