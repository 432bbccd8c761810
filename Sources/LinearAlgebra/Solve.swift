internal import COpenBLAS
internal import Support
package import TensorCore

/// A = P·L·U of a square matrix, row-major, in double precision (2/3·n³ operations).
package struct LUFactors {
    private let factors: DoubleStorage
    private var pivots: [Int32]
    private let order: Int

    /// - Parameter a: `[order, order]`; its memory is used up.
    /// - Throws: ``LAPACKError`` if A is singular, or a value is NaN.
    package init(_ a: DoubleStorage, order: Int) throws(LAPACKError) {
        precondition(a.count == order * order, "\(a.count) values of a matrix of order \(order)")
        (factors, self.order) = (a, order)
        pivots = [Int32](repeating: 0, count: order)
        guard order > 0 else { return }
        let n = Int32(order)
        let code = LAPACKE_dgetrf(LAPACK_COL_MAJOR, n, n, a.pointer, n, &pivots)
        try LAPACKError.check(code, "dgetrf", [order, order])
    }

    /// Rows that are solved for together. Where the rows that are asked for begin and end at multiples of it, they have the
    /// same bits whichever are asked for.
    package static let chunk = 64

    /// B ← B·A⁻¹ for B `[rows, order]` (2·rows·n² operations), its chunks shared among threads. Row-major memory read by
    /// columns is the transpose, so that Aᵀ·Zᵀ = Bᵀ is what LAPACK solves.
    ///
    /// - Throws: ``LAPACKError`` if a value is NaN.
    package func rightDivide(_ b: UnsafeMutableBufferPointer<Double>) throws(LAPACKError) {
        guard order > 0, !b.isEmpty else { return }
        precondition(b.count % order == 0, "\(b.count) values over rows of \(order)")
        let rows = b.count / order
        let chunks = (rows + Self.chunk - 1) / Self.chunk
        var codes = [Int32](repeating: 0, count: chunks)
        codes.withUnsafeMutableBufferPointer { codes in
            // Eight operations take about as long as an element that is gone through.
            Team.share(chunks, cost: Self.chunk * order * order / 8) {
                for index in $0 { codes[index] = solve(index * Self.chunk..<min(rows, (index + 1) * Self.chunk), of: b) }
            }
        }
        for code in codes { try LAPACKError.check(code, "dgetrs", [rows, order]) }
    }

    /// LAPACK's code; where the solution is NaN, the one for a B with NaN.
    private func solve(_ rows: Range<Int>, of b: UnsafeMutableBufferPointer<Double>) -> Int32 {
        let (n, values) = (Int32(order), b[rows.lowerBound * order..<rows.upperBound * order])
        let code = LAPACKE_dgetrs_work(
            LAPACK_COL_MAJOR, CChar(UInt8(ascii: "N")), n, Int32(rows.count), factors.pointer, n, pivots,
            UnsafeMutableBufferPointer(rebasing: values).baseAddress, n)
        return code == 0 && values.contains(where: \.isNaN) ? -8 : code
    }
}

/// A·B in double precision on row-major memory; A is m×k, B is k×n. 2·m·n·k operations.
package func multiply(m: Int, n: Int, k: Int, _ a: DoubleStorage, _ b: DoubleStorage) -> DoubleStorage {
    precondition(a.count == m * k && b.count == k * n, "\(a.count) and \(b.count) values of \(m)×\(k) and \(k)×\(n)")
    let result = DoubleStorage(uninitialized: m * n)
    guard m > 0, n > 0 else { return result }
    defer { WorkProgress.note() }
    cblas_dgemm(
        CblasRowMajor, CblasNoTrans, CblasNoTrans, Int32(m), Int32(n), Int32(k), 1, a.pointer, Int32(max(1, k)), b.pointer,
        Int32(n), 0, result.pointer, Int32(n))
    return result
}
