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
        // A product grows with b, so that between two normal ones all are.
        let sizes = b.map(abs)
        let (least, largest) = (sizes.min() ?? 1, sizes.max() ?? 1)
        return scaled(w) { i, b, source, target in
            let a = a[i]
            if (a * least).isNormal, (a * largest).isNormal {
                for j in b.indices { target[j] = source[j] / (a * b[j]) }
                return
            }
            for j in b.indices {
                let product = a * b[j]
                target[j] = product.isNormal ? source[j] / product : Float(Double(source[j]) / (Double(a) * Double(b[j])))
            }
        }
    }

    /// diag(a)·W'·diag(b).
    func restored(_ w: Tensor) -> Tensor {
        scaled(w) { i, b, source, target in
            let a = a[i]
            for j in b.indices { target[j] = source[j] * (a * b[j]) }
        }
    }

    /// - Parameter row: writes row i of the result, given b and the row of `w`.
    private func scaled(
        _ w: Tensor, row: (Int, UnsafeBufferPointer<Float>, UnsafePointer<Float>, UnsafeMutablePointer<Float>) -> Void
    ) -> Tensor {
        precondition(w.rows == a.count && w.columns == b.count, "balance of \(a.count)×\(b.count) for \(w.shape)")
        return w.mappedRows { i, source, target in b.withUnsafeBufferPointer { row(i, $0, source, target) } }
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
    var meanSquares: (rows: [Double], columns: [Double]) { (rowMeanSquares, columnMeanSquares) }

    /// Of each row's elements, added up from left to right: four rows at a time, since each addition waits for the last one.
    var rowMeanSquares: [Double] {
        let (m, n, source) = (rows, columns, pointer)
        var sums = [Double](repeating: 0, count: m)
        sums.withUnsafeMutableBufferPointer { sums in
            Team.share((m + 3) / 4, cost: 4 * n) { blocks in
                for first in blocks.map({ 4 * $0 }) {
                    // Of less than four rows the last one is added up again.
                    let last = min(first + 3, m - 1)
                    let rows = (0..<4).map { source + min(first + $0, last) * n }
                    let (a, b, c, d) = (rows[0], rows[1], rows[2], rows[3])
                    var four = SIMD4<Double>.zero
                    for j in 0..<n {
                        let x = SIMD4(Double(a[j]), Double(b[j]), Double(c[j]), Double(d[j]))
                        four += x * x
                    }
                    for i in first...last { sums[i] = four[i - first] / Double(n) }
                }
            }
        }
        return sums
    }

    /// Of each column's elements, added up from top to bottom.
    private var columnMeanSquares: [Double] {
        let (m, n, source) = (rows, columns, pointer)
        var sums = [Double](repeating: 0, count: n)
        sums.withUnsafeMutableBufferPointer { sums in
            Team.share(n, cost: m) { columns in
                for i in 0..<m {
                    let row = source + i * n
                    for j in columns { sums[j] += Double(row[j]) * Double(row[j]) }
                }
                for j in columns { sums[j] /= Double(m) }
            }
        }
        return sums
    }

    /// The median of the rows' mean squares, without rows of zeros; nil for zeros.
    var usualMeanSquare: Double? {
        let sorted = rowMeanSquares.filter { $0 > 0 }.sorted()
        return sorted.isEmpty ? nil : sorted[sorted.count / 2]
    }

    /// A matrix of the same shape.
    ///
    /// - Parameter row: writes row i, given that of this matrix; on several threads at a time.
    func mappedRows(_ row: (Int, UnsafePointer<Float>, UnsafeMutablePointer<Float>) -> Void) -> Tensor {
        var result = Tensor(uninitialized: shape)
        let (n, source, target) = (columns, pointer, result.mutablePointer)
        Team.share(rows, cost: n) { rows in
            for i in rows { row(i, source + i * n, target + i * n) }
        }
        return result
    }
}
