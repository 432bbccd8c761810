internal import CKernels
internal import TensorCore

extension Tape {
    /// y = γ∘(x − m)/√(mean((x − m)²) + ε) + β of each row, m the row's mean (Ba et al., arXiv 1607.06450).
    ///
    /// - Parameters:
    ///   - gain: γ [columns], or nil for ones.
    ///   - shift: β [columns], or nil for zeros.
    package func layerNorm(_ x: Variable, gain: Variable?, shift: Variable?, epsilon: Float) -> Variable {
        let (rows, columns) = (x.value.rows, x.value.columns)
        var y = Tensor(uninitialized: x.value.shape)
        var mean = Tensor(uninitialized: [rows])
        var reciprocal = Tensor(uninitialized: [rows])
        ck_layer_norm(
            x.value.pointer, gain?.value.pointer, shift?.value.pointer, epsilon, y.mutablePointer, mean.mutablePointer,
            reciprocal.mutablePointer, rows, columns)
        let toShift = shift?.sink
        return record(y, from: [x] + [gain, shift].compactMap(\.self)) { [mean, reciprocal] dy in
            var dx = Tensor(uninitialized: dy.shape)
            updating(gain?.sink) { dGain in
                updating(toShift) { dShift in
                    ck_layer_norm_backward(
                        dy.pointer, x.value.pointer, gain?.value.pointer, mean.pointer, reciprocal.pointer, dx.mutablePointer,
                        dGain,
                        dShift, rows, columns)
                }
            }
            x.sink.add(dx)
        }
    }
}

/// Calls `body` with where to add to a gradient; with nil where none is wanted.
private func updating(_ sink: GradientSink?, _ body: (UnsafeMutablePointer<Float>?) -> Void) {
    guard let sink, sink.isWanted else { return body(nil) }
    sink.update { gradient, beta in
        if beta == 0 { gradient.fill(0) }
        body(gradient.mutablePointer)
    }
}
