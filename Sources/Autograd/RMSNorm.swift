internal import CKernels
internal import TensorCore

extension Tape {
    /// y = γ∘x / √(mean(x²) + ε) over the last `width` entries (Zhang and Sennrich, arXiv 1910.07467).
    ///
    /// - Parameters:
    ///   - gain: γ [width], or nil for ones.
    ///   - width: entries normalized together: the whole row, or a head (norms of q and k).
    package func rmsNorm(_ x: Variable, gain: Variable?, epsilon: Float, width: Int? = nil) -> Variable {
        let columns = width ?? x.value.columns
        let rows = x.value.count / columns
        var y = Tensor(uninitialized: x.value.shape)
        var reciprocal = Tensor(uninitialized: [rows])
        ck_rms_norm(
            x.value.pointer, gain?.value.pointer, epsilon, y.mutablePointer, reciprocal.mutablePointer, rows, columns)
        return record(y, from: [x] + (gain.map { [$0] } ?? [])) { [reciprocal] dy in
            var dx = Tensor(uninitialized: dy.shape)
            func run(_ gainGradient: UnsafeMutablePointer<Float>?) {
                ck_rms_norm_backward(
                    dy.pointer, x.value.pointer, gain?.value.pointer, reciprocal.pointer, dx.mutablePointer, gainGradient,
                    rows, columns)
            }
            if let sink = gain?.sink, sink.isWanted {
                sink.update { dGain, beta in
                    if beta == 0 { dGain.fill(0) }
                    run(dGain.mutablePointer)
                }
            } else {
                run(nil)
            }
            x.sink.add(dx)
        }
    }
}
