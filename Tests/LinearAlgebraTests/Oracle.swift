import TensorCore

/// A small matrix in double precision, whose operations are written out: what LAPACK's results are held against.
struct Oracle {
    var rows: Int
    var columns: Int
    var values: [Double]

    init(_ rows: Int, _ columns: Int, _ value: (Int, Int) -> Double) {
        (self.rows, self.columns) = (rows, columns)
        values = (0..<rows * columns).map { value($0 / columns, $0 % columns) }
    }

    init(_ tensor: Tensor) { self.init(tensor.rows, tensor.columns) { Double(tensor[$0, $1]) } }

    subscript(_ i: Int, _ j: Int) -> Double { values[i * columns + j] }

    var transposed: Oracle { Oracle(columns, rows) { self[$1, $0] } }

    static func * (a: Oracle, b: Oracle) -> Oracle {
        Oracle(a.rows, b.columns) { i, j in (0..<a.columns).reduce(0.0) { $0 + a[i, $1] * b[$1, j] } }
    }

    /// max |a − b|.
    static func distance(_ a: Oracle, _ b: Oracle) -> Double { zip(a.values, b.values).reduce(0) { max($0, abs($1.0 - $1.1)) } }

    static func identity(_ n: Int) -> Oracle { Oracle(n, n) { $0 == $1 ? 1 : 0 } }

    /// Eigenvalues of a symmetric matrix, largest first, by Jacobi's rotations.
    var eigenvalues: [Double] {
        var a = self
        func at(_ i: Int, _ j: Int) -> Int { i * columns + j }
        for _ in 0..<30 {
            for p in 0..<rows {
                for q in p + 1..<max(p + 1, rows) where a[p, q] != 0 {
                    let theta = (a[q, q] - a[p, p]) / (2 * a[p, q])
                    let t = (theta < 0 ? -1 : 1) / (abs(theta) + (theta * theta + 1).squareRoot())
                    let c = 1 / (t * t + 1).squareRoot()
                    let s = t * c
                    for k in 0..<rows {
                        let (x, y) = (a[k, p], a[k, q])
                        (a.values[at(k, p)], a.values[at(k, q)]) = (c * x - s * y, s * x + c * y)
                    }
                    for k in 0..<rows {
                        let (x, y) = (a[p, k], a[q, k])
                        (a.values[at(p, k)], a.values[at(q, k)]) = (c * x - s * y, s * x + c * y)
                    }
                }
            }
        }
        return (0..<rows).map { a[$0, $0] }.sorted(by: >)
    }
}
