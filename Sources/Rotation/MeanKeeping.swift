package import TensorCore

// A norm that subtracts the mean commutes with R1 only if R1 preserves the direction of the mean: u·R1 = u with the entries of
// u 1/√n, and then R1·u = u too.

extension Rotations {
    /// The rotations with R1 ← R1·T, T orthogonal with u·R1·T = u. T is the plane rotation from u·R1 to u, which is near I
    /// where R1 nearly preserves the mean already, or otherwise the reflection that maps one to the other (Householder).
    package func keepingMean() -> Rotations { Rotations(r1: r1.map(Self.keepingMean), r2: r2) }

    /// Largest entry of R1·1 − 1; 0 without R1.
    package var meanError: Float {
        guard let r1 else { return 0 }
        return (0..<r1.rows).map { row in
            abs(Float((0..<r1.columns).reduce(0.0) { $0 + Double(r1[row, $1]) } - 1))
        }.max() ?? 0
    }

    private static func keepingMean(_ r: Tensor) -> Tensor {
        let n = r.columns
        let source = r.pointer
        // v = u·R has unit length except for rounding, which must not be taken for a direction.
        var v = [Double](repeating: 0, count: n)
        for row in 0..<n { for j in 0..<n { v[j] += Double(source[row * n + j]) } }
        let length = v.reduce(0) { $0 + $1 * $1 }.squareRoot()
        v = v.map { $0 / length }
        let u = 1 / Double(n).squareRoot()
        let cosine = v.reduce(0, +) * u
        var result = r.copy()
        let target = result.mutablePointer
        for row in 0..<n {
            let x = (0..<n).map { Double(source[row * n + $0]) }
            let (alongU, alongV) = (x.reduce(0, +) * u, zip(x, v).reduce(0) { $0 + $1.0 * $1.1 })
            for j in 0..<n {
                // The plane rotation from v to u leaves everything else unchanged. Far from u it is badly conditioned, and the
                // reflection is used.
                let turned =
                    cosine > 0
                    ? x[j] - (alongU + alongV) / (1 + cosine) * (v[j] + u) + 2 * alongV * u
                    : x[j] - (alongV - alongU) / (1 - cosine) * (v[j] - u)
                target[row * n + j] = Float(turned)
            }
        }
        return result
    }
}

extension SkewMatrix {
    /// P·S·P of a packed S, P = I − uᵀu: the part that does not rotate anything into or out of the direction of the mean.
    package static func keepingMean(_ packed: Tensor, order n: Int) -> Tensor {
        precondition(packed.count == packedCount(order: n), "\(packed.count) entries of a skew matrix of order \(n)")
        var sums = [Double](repeating: 0, count: n)
        var next = 0
        for i in 0..<n {
            for j in i + 1..<n {
                sums[i] += Double(packed[flat: next])
                sums[j] -= Double(packed[flat: next])
                next += 1
            }
        }
        var result = packed.copy()
        let target = result.mutablePointer
        next = 0
        for i in 0..<n {
            for j in i + 1..<n {
                target[next] += Float((sums[j] - sums[i]) / Double(n))
                next += 1
            }
        }
        return result
    }
}
