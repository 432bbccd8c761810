package import TensorCore

/// Scales a (rows) and b (columns) such that W' = diag(a)⁻¹·W·diag(b)⁻¹ has rows and columns of root mean square 1.
///
/// The tolerance of a decomposition is relative to the largest singular value, which a few large rows or columns may own; on W'
/// it means the same for all.
///
/// No scale is below `leastShare` of the median of its side: a row or column that is next to nothing stays next to nothing on
/// W', and nothing is divided by it.
package struct Balance: Sendable {
    /// One factor per row, per column.
    package let a: [Float], b: [Float]

    /// The smallest scale, as a share of the median of those that are not of zeros. A channel weaker than this says nothing
    /// that activations a thousand times the usual ones, as large models have them, could carry into a result.
    static let leastShare = 1e-4
    /// By this factor a row's or a column's root mean square on W' may leave what it was before the balance follows it.
    static let slack = 2.0

    /// Mean squares of the rows and columns of W' that are no drift: nil for 1, as those of a matrix are that was balanced.
    /// Scales chosen on data, or as units of whole numbers, have others from the beginning.
    package private(set) var origin: Origin?

    /// Mean squares of rows and of columns.
    package struct Origin: Sendable {
        package let rows: [Float], columns: [Float]

        package init(rows: [Float], columns: [Float]) { (self.rows, self.columns) = (rows, columns) }
    }

    package init(a: [Float], b: [Float], origin: Origin? = nil) { (self.a, self.b, self.origin) = (a, b, origin) }

    /// The same scales, whose drift counts from a matrix that has them now.
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

    /// The balance of a matrix that has moved away from this one's; nil while no row and no column has moved far.
    ///
    /// A few steps of an optimizer, whose size does not depend on the weight's, make of a channel next to nothing one of many
    /// times its scale. On W' it would be a giant, and every other entry would be priced by it.
    ///
    /// - Parameter balanced: the matrix as it is now, ``applied(to:)`` by this balance.
    func following(_ balanced: Tensor) -> Balance? {
        let (rows, columns) = balanced.meanSquares
        guard Self.hasDrifted(a, rows, from: origin?.rows) || Self.hasDrifted(b, columns, from: origin?.columns) else {
            return nil
        }
        let sides = Sides(balanced)
        // What all rows gain and all columns lose, or the other way round, changes nothing: the rows' median stays.
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

    /// Whether a channel has left its scale: one of zeros has none, and one at the least scale may be as small as it likes.
    private static func hasDrifted(_ scales: [Float], _ meanSquares: [Double], from origin: [Float]?) -> Bool {
        let least = (median(scales.map(Double.init), without: meanSquares.map { $0 == 0 }) ?? 0) * leastShare * slack
        return scales.indices.contains { i in
            // A channel that had nothing in it grows from 1, as one of a matrix does that was balanced.
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

    /// Of the channels that are not of zeros; nil without any.
    private static func median(_ values: [Double], without isZero: [Bool]) -> Double? {
        let sorted = values.indices.filter { !isZero[$0] }.map { values[$0] }.sorted()
        return sorted.isEmpty ? nil : sorted[sorted.count / 2]
    }

    /// diag(a)⁻¹·W·diag(b)⁻¹. Where a·b leaves float32's range the quotient need not.
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
