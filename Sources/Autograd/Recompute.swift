internal import TensorCore

extension Tape {
    /// `body(x)` without keeping what its derivative needs: the backward pass runs `body` once more, on a tape of its own
    /// (Chen et al., arXiv 1604.06174). Parameters that `body` uses receive their gradients as usual.
    ///
    /// - Parameter body: deterministic; called twice, the second time on a recording tape.
    package func recomputing(_ x: Variable, _ body: @escaping (Tape, Variable) -> Variable) -> Variable {
        guard isRecording else { return body(self, x) }
        let y = body(Tape(recording: false), Variable(constant: x.value)).value
        // Whether `body` has parameters of its own is not known here, so the step is recorded whatever x wants.
        return record(y, from: [Variable(parameter: x.value)]) { dy in
            let inner = Tape()
            let input = Variable(parameter: x.value)
            inner.backward(from: body(inner, input), gradient: dy)
            if let dx = input.gradient { x.sink.add(dx) }
        }
    }
}
