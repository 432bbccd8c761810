internal import TensorCore

/// Scales a (rows) and b (columns) such that W' = diag(a)⁻¹·W·diag(b)⁻¹ has rows and columns of root mean square 1.
///
/// The tolerance of a decomposition is relative to the largest singular value, which a few large rows or columns may own; on W' it
/// means the same for all.
package struct Balance: Sendable {
    /// One factor per row, per column.
    package let a: [Float], b: [Float]

    package init(a: [Float], b: [Float]) { (self.a, self.b) = (a, b) }

    /// Ten alternating sweeps. Rows and columns of zeros keep factor 1.
    init(_ w: Tensor, sweeps: Int = 10) {
        let (m, n) = (w.rows, w.columns)
        let squares = w.withElements { $0.map { Double($0) * Double($0) } }
        // Squared factors, so that a sweep needs no roots.
        var rows = [Double](repeating: 1, count: m)
        var columns = [Double](repeating: 1, count: n)
        for _ in 0..<sweeps {
            for i in 0..<m {
                var sum = 0.0
                for j in 0..<n { sum += squares[i * n + j] / columns[j] }
                if sum > 0 { rows[i] = sum / Double(n) }
            }
            var sums = [Double](repeating: 0, count: n)
            for i in 0..<m {
                for j in 0..<n { sums[j] += squares[i * n + j] / rows[i] }
            }
            for j in 0..<n where sums[j] > 0 { columns[j] = sums[j] / Double(m) }
        }
        a = rows.map { Float($0.squareRoot()) }
        b = columns.map { Float($0.squareRoot()) }
    }

    /// diag(a)⁻¹·W·diag(b)⁻¹.
    func applied(to w: Tensor) -> Tensor { scaled(w) { $0 / (a[$1] * b[$2]) } }

    /// diag(a)·W'·diag(b).
    func restored(_ w: Tensor) -> Tensor { scaled(w) { $0 * (a[$1] * b[$2]) } }

    private func scaled(_ w: Tensor, _ change: (Float, Int, Int) -> Float) -> Tensor {
        precondition(w.rows == a.count && w.columns == b.count, "balance of \(a.count)×\(b.count) for \(w.shape)")
        let n = w.columns
        return w.withElements { source in Tensor(source.indices.map { change(source[$0], $0 / n, $0 % n) }, w.shape) }
    }
}
