package import TensorCore

/// Scales a (rows) and b (columns) such that W' = diag(a)⁻¹·W·diag(b)⁻¹ has rows and columns of root mean square 1.
///
/// The tolerance of a decomposition is relative to the largest singular value, which a few large rows or columns may dominate.
/// On W' it means the same for all rows and columns.
///
/// No scale is below `leastShare` of the median of its side. So a row or column that is almost zero stays almost zero on W',
/// and nothing is divided by its size.
package struct Balance: Sendable {
    /// One factor per row, per column.
    package let a: [Float], b: [Float]

    /// The smallest scale, as a share of the median over channels that are not all 0. A weaker channel does not affect a result
    /// even if its activations are a thousand times the usual ones, as in large models.
    static let leastShare = 1e-4
    /// The factor by which the root mean square of a row or column of W' may change before the balance is adjusted.
    static let slack = 2.0

    /// Mean squares of the rows and columns of W' that count as no drift. nil means 1, as in a balanced matrix. With scales
    /// chosen on data, or as units of whole numbers, they differ from 1 from the beginning.
    package private(set) var origin: Origin?

    /// Mean squares of rows and of columns.
    package struct Origin: Sendable {
        package let rows: [Float], columns: [Float]

        package init(rows: [Float], columns: [Float]) { (self.rows, self.columns) = (rows, columns) }
    }

    package init(a: [Float], b: [Float], origin: Origin? = nil) { (self.a, self.b, self.origin) = (a, b, origin) }

    /// The same scales, with drift measured from the present matrix `w`.
    package func standing(at w: Tensor) -> Balance {
        let (rows, columns) = applied(to: w).meanSquares
        return Balance(a: a, b: b, origin: Origin(rows: rows.map { Float($0) }, columns: columns.map { Float($0) }))
    }

    /// Ten alternating sweeps. Rows and columns of zeros keep factor 1.
    init(_ w: Tensor) {
        let sides = Sides(w)
        a = Self.bounded(sides.rows.map { Float($0.squareRoot()) }, sides.rowIsZero)
        b = Self.bounded(sides.columns.map { Float($0.squareRoot()) }, sides.columnIsZero)
    }

    /// A new balance for a matrix that has moved away from this one; nil while no row and no column has moved far.
    ///
    /// An optimizer's steps do not depend on the weight's size. A few of them can turn an almost empty channel into one of many
    /// times its scale. On W' it would be huge and would set the price of every other entry.
    ///
    /// - Parameter balanced: the present matrix, after ``applied(to:)`` of this balance.
    func following(_ balanced: Tensor) -> Balance? {
        let (rows, columns) = balanced.meanSquares
        guard Self.hasDrifted(a, rows, from: origin?.rows) || Self.hasDrifted(b, columns, from: origin?.columns) else {
            return nil
        }
        let sides = Sides(balanced)
        // A factor that all rows gain and all columns lose changes nothing, so the median of the rows is kept.
        let gauge = Self.median(sides.rows, without: sides.rowIsZero) ?? 1
        func moved(_ scales: [Float], _ squares: [Double], _ isZero: [Bool], gauge: Double) -> [Float] {
            let moved = scales.indices.map {
                isZero[$0] ? scales[$0] : Float(Double(scales[$0]) * (squares[$0] * gauge).squareRoot())
            }
            return Self.bounded(moved, isZero)
        }
        return Balance(
            a: moved(a, sides.rows, sides.rowIsZero, gauge: 1 / gauge),
            b: moved(b, sides.columns, sides.columnIsZero, gauge: gauge))
    }

    /// Whether a channel has left its scale. A channel of zeros has no scale, and one at the smallest scale may be arbitrarily
    /// small.
    private static func hasDrifted(_ scales: [Float], _ meanSquares: [Double], from origin: [Float]?) -> Bool {
        let least = (median(scales.map(Double.init), without: meanSquares.map { $0 == 0 }) ?? 0) * leastShare * slack
        return scales.indices.contains { i in
            // A channel that was empty is measured from 1, as in a balanced matrix.
            let usual = origin.map { $0[i] > 0 ? Double($0[i]) : 1 } ?? 1
            return meanSquares[i] > slack * slack * usual
                || meanSquares[i] > 0 && meanSquares[i] < usual / (slack * slack) && Double(scales[i]) > least
        }
    }

    /// Scales no smaller than ``leastShare`` of the median.
    private static func bounded(_ scales: [Float], _ isZero: [Bool]) -> [Float] {
        guard let median = median(scales.map(Double.init), without: isZero) else { return scales }
        return scales.map { max($0, Float(leastShare * median)) }
    }

    /// The median over channels that are not all 0; nil if there is none.
    private static func median(_ values: [Double], without isZero: [Bool]) -> Double? {
        let sorted = values.indices.filter { !isZero[$0] }.map { values[$0] }.sorted()
        return sorted.isEmpty ? nil : sorted[sorted.count / 2]
    }

    /// diag(a)⁻¹·W·diag(b)⁻¹, in double precision where a·b is not a normal float32, since the quotient may be one.
    package func applied(to w: Tensor) -> Tensor {
        scaled(w) { value, i, j in
            let product = a[i] * b[j]
            return product.isNormal ? value / product : Float(Double(value) / (Double(a[i]) * Double(b[j])))
        }
    }

    /// diag(a)·W'·diag(b).
    func restored(_ w: Tensor) -> Tensor { scaled(w) { $0 * (a[$1] * b[$2]) } }

    private func scaled(_ w: Tensor, _ change: (Float, Int, Int) -> Float) -> Tensor {
        precondition(w.rows == a.count && w.columns == b.count, "balance of \(a.count)×\(b.count) for \(w.shape)")
        let n = w.columns
        return w.withElements { source in Tensor(source.indices.map { change(source[$0], $0 / n, $0 % n) }, w.shape) }
    }
}

/// The squared scales of a matrix, so that a sweep needs no roots.
private struct Sides {
    private(set) var rows: [Double], columns: [Double]
    private(set) var rowIsZero: [Bool], columnIsZero: [Bool]

    init(_ w: Tensor, sweeps: Int = 10) {
        let (m, n) = (w.rows, w.columns)
        let squares = w.withElements { $0.map { Double($0) * Double($0) } }
        (rows, columns) = ([Double](repeating: 1, count: m), [Double](repeating: 1, count: n))
        (rowIsZero, columnIsZero) = ([Bool](repeating: true, count: m), [Bool](repeating: true, count: n))
        for _ in 0..<sweeps {
            for i in 0..<m {
                var sum = 0.0
                for j in 0..<n { sum += squares[i * n + j] / columns[j] }
                if sum > 0 { (rows[i], rowIsZero[i]) = (sum / Double(n), false) }
            }
            var sums = [Double](repeating: 0, count: n)
            for i in 0..<m {
                for j in 0..<n { sums[j] += squares[i * n + j] / rows[i] }
            }
            for j in 0..<n where sums[j] > 0 { (columns[j], columnIsZero[j]) = (sums[j] / Double(m), false) }
        }
    }
}

extension Tensor {
    /// Of each row's elements, and of each column's.
    var meanSquares: (rows: [Double], columns: [Double]) {
        let (m, n) = (rows, columns)
        var (rowSums, columnSums) = ([Double](repeating: 0, count: m), [Double](repeating: 0, count: n))
        withElements { elements in
            for i in 0..<m {
                for j in 0..<n {
                    let square = Double(elements[i * n + j]) * Double(elements[i * n + j])
                    rowSums[i] += square
                    columnSums[j] += square
                }
            }
        }
        return (rowSums.map { $0 / Double(n) }, columnSums.map { $0 / Double(m) })
    }

    /// The median of the rows' mean squares, without rows of zeros; nil for zeros.
    var usualMeanSquare: Double? {
        let sorted = meanSquares.rows.filter { $0 > 0 }.sorted()
        return sorted.isEmpty ? nil : sorted[sorted.count / 2]
    }
}
