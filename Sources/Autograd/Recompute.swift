internal import TensorCore

extension Tape {
    /// `body`'s value without keeping what its derivative needs: the backward pass runs `body` once more, on a tape of its own
    /// (Chen et al., arXiv 1604.06174). Variables that `body` uses receive their gradients as usual, and stay in memory.
    ///
    /// The second time the products of weights' gradients are not put off: what they need would stay in memory.
    ///
    /// - Parameter body: deterministic; called twice, the second time with a recording tape.
    package func recomputing(_ body: @escaping (Tape) -> Variable) -> Variable {
        guard isRecording else { return body(self) }
        let y = body(Tape(recording: false, precision: precision)).value
        // What `body` uses is not known here, so the step is recorded in any case.
        return record(y, from: [Variable(parameter: y)]) { [precision] dy in
            let inner = Tape(precision: precision)
            inner.backward(from: body(inner), gradient: dy)
        }
    }
}
