package import TensorCore

// A norm that takes the mean away commutes with R1 only where R1 leaves the direction of the mean as it is: u·R1 = u with
// u = 1/√n, and then R1·u = u too.

extension Rotations {
    /// The rotations with R1 ← R1·T, T orthogonal with u·R1·T = u: the turn from u·R1 to u, which is near I where R1 nearly
    /// keeps the mean already, or else the reflection that maps one to the other (Householder).
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
        // v = u·R, of unit length but for rounding, which must not count for a direction.
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
                // The turn from v to u leaves all else where it is; far from u, where it is badly determined, the reflection.
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
    /// P·S·P of a packed S, P = I − uᵀu: the part that turns nothing into or out of the direction of the mean.
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
