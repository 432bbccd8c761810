internal import LinearAlgebra
package import TensorCore

/// What GPTQ derives from the second moment of a layer's inputs: the order in which columns are rounded, and how much of a
/// column's error is added to each later column.
///
/// The published procedure updates w_j ← w_j − (w_i − ŵ_i)·U_ij/U_ii with U the upper Cholesky factor of H⁻¹. With H = M·Mᵀ, M
/// upper triangular, U is M⁻¹, and unrolling the updates gives w°_j plus Σ (w°_i − ŵ_i)·M_ij/M_jj over the columns i < j, where
/// w° are the original weights (Babai's nearest plane in the lattice of M). So one factorization replaces two factorizations
/// and an inversion.
package struct GPTQFactor: Sendable {
    /// The column of the weight at each place of the order.
    package let order: [Int32]
    /// See ``InputStatistics/isDead``.
    package let isDead: [Bool]
    /// M_ij/M_jj at [j, i] for i < j, in the order of rounding; `[in, in]`. Other entries are undefined.
    package let ratios: Tensor
    /// M_jj, in the order of rounding: the part of an input's size that the later inputs do not predict.
    package let diagonal: [Float]

    /// - Parameters:
    ///   - damping: fraction of the mean diagonal that is added to the diagonal.
    ///   - byActivation: whether columns with the largest inputs come first.
    /// - Throws: ``QuantizationError``, also where H is singular and the damping is too small.
    package init(_ statistics: InputStatistics, damping: Double, byActivation: Bool) throws(QuantizationError) {
        try statistics.check()
        let n = statistics.width
        isDead = statistics.isDead
        let (squares, diagonal) = (statistics.meanSquares, statistics.diagonal(damping: damping))
        // Ties keep their order, which makes it the same on all ranks.
        let sorted = byActivation ? (0..<n).sorted { (squares[$0], $1) > (squares[$1], $0) } : Array(0..<n)
        order = sorted.map(Int32.init)
        // LAPACK computes Uᵀ·U; with rows and columns reversed, the reversed U is Mᵀ.
        let matrix = DoubleStorage(uninitialized: n * n)
        let tokens = Double(statistics.rows)
        for a in 0..<n {
            let (row, j) = (matrix.pointer + a * n, sorted[n - 1 - a])
            if byActivation {
                for b in a..<n {
                    let i = sorted[n - 1 - b]
                    row[b] = statistics.productRow(max(i, j))[min(i, j)] / tokens
                }
            } else {
                let products = statistics.productRow(j)
                for b in a..<n { row[b] = products[n - 1 - b] / tokens }
            }
            row[a] = diagonal[j]
        }
        do {
            try factorizeCholesky(matrix, order: n)
        } catch {
            throw .singular(damping: damping)
        }
        var ratios = Tensor(uninitialized: [n, n])
        let target = ratios.mutablePointer
        for j in 0..<n {
            let (row, source) = (target + j * n, matrix.pointer + (n - 1 - j) * n)
            let reciprocal = 1 / source[n - 1 - j]
            for i in 0..<j { row[i] = Float(source[n - 1 - i] * reciprocal) }
        }
        self.ratios = ratios
        self.diagonal = (0..<n).map { column -> Float in
            let place = n - 1 - column
            return Float(matrix.pointer[place * n + place])
        }
    }
}
