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
        let (output, m, r) = (y.mutablePointer, mean.mutablePointer, reciprocal.mutablePointer)
        // A value at rest may be made when it is asked for, and lives no longer than it is held.
        withExtendedLifetime((x.value, gain?.value, shift?.value)) { x, gain, shift in
            let (input, g, s) = (x.pointer, gain?.pointer, shift?.pointer)
            Team.share(rows, cost: columns) {
                let (row, first) = ($0.lowerBound, $0.lowerBound * columns)
                ck_layer_norm(input + first, g, s, epsilon, output + first, m + row, r + row, $0.count, columns)
            }
        }
        let toShift = shift?.sink
        return record(y, from: [x] + [gain, shift].compactMap(\.self)) { [mean, reciprocal] dy in
            var dx = Tensor(uninitialized: dy.shape)
            let (value, gamma) = (x.value, gain?.value)
            let (d, input, g, target) = (dy.pointer, value.pointer, gamma?.pointer, dx.mutablePointer)
            let (m, r) = (mean.pointer, reciprocal.pointer)
            let (wantsGain, wantsShift) = (gain?.sink.isWanted == true, toShift?.isWanted == true)
            // Both gradients side by side, so that chunks of rows have sums of their own for both.
            var sums = Tensor(zeros: [wantsGain || wantsShift ? 2 * columns : 0])
            func run(_ range: Range<Int>, _ sums: UnsafeMutablePointer<Float>?) {
                let (row, first) = (range.lowerBound, range.lowerBound * columns)
                ck_layer_norm_backward(
                    d + first, input + first, g, m + row, r + row, target + first, wantsGain ? sums : nil,
                    wantsShift ? sums.map { $0 + columns } : nil, range.count, columns)
            }
            withExtendedLifetime((value, gamma)) {
                if sums.count > 0 {
                    Team.sum(rows, of: 2 * columns, cost: columns, into: sums.mutablePointer, run)
                } else {
                    Team.share(rows, cost: columns) { run($0, nil) }
                }
            }
            if wantsGain { gain?.sink.add(sums.slice(0..<columns)) }
            if wantsShift { toShift?.add(sums.slice(columns..<2 * columns)) }
            x.sink.add(dx)
        }
    }
}
