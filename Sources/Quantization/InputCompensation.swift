internal import LinearAlgebra
internal import TensorCore

/// The weights whose outputs on inputs x, changed by rounding, are closest to those of a weight W on the full-precision
/// network's inputs x° (asymmetric calibration, Li et al., arXiv 2504.02692).
///
/// E‖W·x° − Ŵ·x‖² equals E‖(W′ − Ŵ)·x‖² plus a part that does not depend on Ŵ, where W′ = W + W·D·H⁻¹, D = E[(x° − x)·xᵀ] and H
/// = E[x·xᵀ]. H is damped as in GPTQ, which keeps W′ near W. Everything is in double precision, since H⁻¹ amplifies small
/// differences: in float32 another order of sums would give a different W′.
struct InputCompensation {
    /// D, `[in, in]`.
    private let deviation: DoubleStorage
    /// LU factors of H.
    private let factors: LUFactors

    /// - Parameters:
    ///   - statistics: with deviations.
    ///   - damping: fraction of H's mean diagonal that is added to the diagonal.
    /// - Throws: ``QuantizationError`` where H is singular.
    init(_ statistics: InputStatistics, damping: Double) throws(QuantizationError) {
        let (n, tokens) = (statistics.width, Double(statistics.rows))
        let diagonal = statistics.diagonal(damping: damping)
        let matrix = DoubleStorage(uninitialized: n * n)
        deviation = DoubleStorage(uninitialized: n * n)
        for i in 0..<n {
            let (products, deviations) = (statistics.productRow(i), statistics.deviationRow(i))
            for j in 0...i {
                let value = products[j] / tokens
                (matrix.pointer[i * n + j], matrix.pointer[j * n + i]) = (value, value)
            }
            matrix.pointer[i * n + i] = diagonal[i]
            for j in 0..<n { deviation.pointer[i * n + j] = deviations[j] / tokens }
        }
        do {
            factors = try LUFactors(matrix, order: n)
        } catch {
            throw .singular(damping: damping)
        }
    }

    /// W + `part`·W·D·H⁻¹ for W `[out, in]`.
    func applied(to weight: Tensor, part: Double) throws(QuantizationError) -> Tensor {
        let (rows, n) = (weight.rows, weight.columns)
        let values = DoubleStorage(weight) { Double($0) }
        let change = multiply(m: rows, n: n, k: n, values, deviation)
        do {
            try factors.rightDivide(change.elements)
        } catch {
            throw .inputsNotFinite
        }
        var result = Tensor(uninitialized: weight.shape)
        let target = result.mutablePointer
        for index in 0..<rows * n { target[index] = Float(values.pointer[index] + part * change.pointer[index]) }
        return result
    }
}
