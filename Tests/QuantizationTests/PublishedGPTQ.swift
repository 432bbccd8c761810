import TensorCore

@testable import Quantization

/// The published procedure (arXiv 2210.17323), word for word and in double precision: H⁻¹, its upper Cholesky factor U, and
/// after each column an update of all columns behind it. Columns are counted in the order of rounding.
struct PublishedGPTQ {
    /// The column of the weight at each place of the order.
    let order: [Int]
    private let u: [[Double]]
    private let isDead: [Bool]

    /// - Parameter x: inputs, `[tokens, in]`; 1 % of the mean diagonal of live columns is added to H.
    init(_ x: Tensor, byActivation: Bool = false) {
        let n = x.columns
        var squares = [Double](repeating: 0, count: n)
        for t in 0..<x.rows { for j in 0..<n { squares[j] += Double(x[t, j]) * Double(x[t, j]) } }
        let order = byActivation ? (0..<n).sorted { (squares[$0], $1) > (squares[$1], $0) } : Array(0..<n)
        var h = [[Double]](repeating: [Double](repeating: 0, count: n), count: n)
        for t in 0..<x.rows {
            let row = order.map { Double(x[t, $0]) }
            for i in 0..<n { for j in 0..<n { h[i][j] += row[i] * row[j] } }
        }
        let isDead = order.map { squares[$0] == 0 }
        let mean = squares.reduce(0, +) / Double(squares.count { $0 > 0 })
        for i in 0..<n { h[i][i] += (isDead[i] ? 1 : 0.01) * mean }
        self.order = order
        self.isDead = isDead
        u = Self.upperFactor(ofInverseOf: h)
    }

    private static func upperFactor(ofInverseOf matrix: [[Double]]) -> [[Double]] {
        let n = matrix.count
        var h = matrix
        var inverse = (0..<n).map { i in (0..<n).map { $0 == i ? 1.0 : 0 } }
        for i in 0..<n {
            let pivot = h[i][i]
            for j in 0..<n { (h[i][j], inverse[i][j]) = (h[i][j] / pivot, inverse[i][j] / pivot) }
            for k in 0..<n where k != i {
                let factor = h[k][i]
                for j in 0..<n {
                    h[k][j] -= factor * h[i][j]
                    inverse[k][j] -= factor * inverse[i][j]
                }
            }
        }
        var u = [[Double]](repeating: [Double](repeating: 0, count: n), count: n)
        for i in 0..<n {
            for j in i..<n {
                var sum = inverse[i][j]
                for k in 0..<i { sum -= u[k][i] * u[k][j] }
                u[i][j] = j == i ? sum.squareRoot() : sum / u[i][i]
            }
        }
        return u
    }

    /// Rounds one row: `round` gives ŵ of the running weight at a place, and may look at the running weights of all columns,
    /// and at those before the block of 128 columns.
    func run(_ row: [Float], round: (_ place: Int, _ running: [Double], _ beforeBlock: [Double]) -> Double) {
        let n = row.count
        var w = (0..<n).map { isDead[$0] ? 0 : Double(row[order[$0]]) }
        var beforeBlock = w
        for i in 0..<n {
            if i % 128 == 0 { beforeBlock = w }
            let error = (w[i] - round(i, w, beforeBlock)) / u[i][i]
            for j in i..<n { w[j] -= error * u[i][j] }
        }
    }
}
