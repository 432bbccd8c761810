internal import CKernels
internal import LinearAlgebra
package import TensorCore

/// A loss that estimates from rotated rows alone how badly they are quantized. So rotations can be learned from stored
/// activations, without a backward pass through the network.
///
/// Rows have a root mean square of 1, which no rotation changes. With y = x·R and dy = ∂loss/∂y, R ← R·exp(εA) changes the loss
/// by ε·⟨A, yᵀ·dy⟩: M = Σ yᵀ·dy, as from a backward pass (``RotationGradient``).
package enum RowLoss: Sendable, Equatable {
    /// w², w = max y − min y, or 2·max|y| where the range is symmetric: 12·(2^b − 1)² times the variance of the error of
    /// rounding to b bits. The extremes are soft, so that all entries near them learn: ln(Σ e^py)/p for the maximum, p = 4.
    case range(symmetric: Bool, includesZero: Bool)
    /// Σ e^−|y| (DartQuant, arXiv 2511.04063).
    case whip
    /// |mean y⁴ − 1.8|, 1.8 being the kurtosis of the uniform distribution (KurTail, arXiv 2503.01483).
    case kurtosis

    /// p of the soft extremes.
    private static let sharpness: Float = 4
    private static let uniformKurtosis: Float = 1.8

    /// Adds the gradient of the rotated rows `y` `[rows, n]`, times `weight`, to `gradient`, and returns their loss, times
    /// `weight`.
    package func add(_ y: Tensor, weight: Double = 1, to gradient: RotationGradient) -> Double {
        let (rows, n) = (y.rows, y.columns)
        precondition(n == gradient.n, "rows \(y.shape) for a rotation of order \(gradient.n)")
        guard rows > 0 else { return 0 }
        var slope = Tensor(uninitialized: y.shape)
        let target = slope.mutablePointer
        var losses = [Double](repeating: 0, count: rows)
        losses.withUnsafeMutableBufferPointer { losses in
            // The cost of an exponential is that of several simple operations.
            Team.share(rows, cost: 8 * n) {
                for row in $0 { losses[row] = self.loss(y.pointer + row * n, slope: target + row * n, n) }
            }
        }
        let loss = losses.reduce(0, +)
        var product = Tensor(uninitialized: [n, n])
        matmul(y, .transposed, slope, .asStored, alpha: Float(weight), into: &product)
        gradient.add(product)
        return weight * loss
    }

    /// Of one row.
    private func loss(_ y: UnsafePointer<Float>, slope: UnsafeMutablePointer<Float>, _ n: Int) -> Double {
        switch self {
        case .range(let symmetric, let includesZero):
            ck_range_loss(y, slope, 1, n, Self.sharpness, symmetric ? 1 : 0, includesZero && !symmetric ? 1 : 0)
        case .whip: ck_whip_loss(y, slope, 1, n)
        case .kurtosis: ck_kurtosis_loss(y, slope, 1, n, Self.uniformKurtosis)
        }
    }

    /// The loss alone.
    package func loss(_ y: Tensor) -> Double { add(y, to: RotationGradient(n: y.columns)) }
}

extension Tensor {
    /// The rows scaled to root mean square 1; rows of zeros stay.
    package func normalizedRows() -> Tensor {
        var result = copy()
        let (width, target) = (columns, result.mutablePointer)
        for row in 0..<rows {
            let values = target + row * width
            let square = ck_sum_squares(values, width) / Double(width)
            if square > 0 { ck_scale(Float(1 / square.squareRoot()), values, width) }
        }
        return result
    }
}
