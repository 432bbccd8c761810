internal import LinearAlgebra
internal import TensorCore

/// The weights that, on inputs x changed by rounding, give most nearly what a weight W gives on the full-precision network's
/// inputs x° (asymmetric calibration, Li et al., arXiv 2504.02692).
///
/// E‖W·x° − Ŵ·x‖² is E‖(W′ − Ŵ)·x‖² and what no Ŵ changes, where W′ = W + W·D·H⁻¹, D = E[(x° − x)·xᵀ] and H = E[x·xᵀ]. H is
/// damped as GPTQ's, which keeps W′ near W. All in double precision: H⁻¹ makes much of small differences, so that in float32 W′
/// would be another one wherever sums were added in another order.
struct InputCompensation {
    /// D, `[in, in]`.
    private let deviation: DoubleStorage
    /// Of H.
    private let factors: LUFactors

    /// - Parameters:
    ///   - statistics: with deviations.
    ///   - damping: part of the mean diagonal of H that is added to it.
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

    /// W + part·W·D·H⁻¹ for W `[out, in]`.
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
