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
        let (output, r) = (y.mutablePointer, reciprocal.mutablePointer)
        // A value at rest may be made when it is asked for, and lives no longer than it is held.
        withExtendedLifetime((x.value, gain?.value)) { x, gain in
            let (input, g) = (x.pointer, gain?.pointer)
            Team.share(rows, cost: columns) {
                let first = $0.lowerBound
                ck_rms_norm(input + first * columns, g, epsilon, output + first * columns, r + first, $0.count, columns)
            }
        }
        return record(y, from: [x] + (gain.map { [$0] } ?? [])) { [reciprocal] dy in
            var dx = Tensor(uninitialized: dy.shape)
            let (value, gamma) = (x.value, gain?.value)
            let (d, input, g, r, target) = (
                dy.pointer, value.pointer, gamma?.pointer, reciprocal.pointer, dx.mutablePointer
            )
            func run(_ range: Range<Int>, _ gainGradient: UnsafeMutablePointer<Float>?) {
                let first = range.lowerBound * columns
                ck_rms_norm_backward(
                    d + first, input + first, g, r + range.lowerBound, target + first, gainGradient, range.count, columns)
            }
            withExtendedLifetime((value, gamma)) {
                if let sink = gain?.sink, sink.isWanted {
                    sink.update { dGain, beta in
                        if beta == 0 { dGain.fill(0) }
                        Team.sum(rows, of: columns, cost: columns, into: dGain.mutablePointer, run)
                    }
                } else {
                    Team.share(rows, cost: columns) { run($0, nil) }
                }
            }
            x.sink.add(dx)
        }
    }
}
