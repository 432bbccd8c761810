internal import CKernels
internal import LinearAlgebra
package import TensorCore

/// How badly rotated rows are quantized, estimated from the rows alone: rotations learn from stored activations,
/// without a backward pass through the network.
///
/// Rows come at root mean square 1, which no rotation changes. With y = x·R and dy = ∂loss/∂y, R ← R·exp(εA) changes the loss
/// by ε·⟨A, yᵀ·dy⟩: M = Σ yᵀ·dy, as from a backward pass (``RotationGradient``).
package enum RowLoss: Sendable, Equatable {
    /// w², w = max y − min y, or 2·max|y| where the range is symmetric: 12·(2^b − 1)² times the variance of what rounding to b
    /// bits takes away. The extremes are soft, so that all entries near them learn: ln(Σ e^py)/p for the maximum, p = 4.
    case range(symmetric: Bool, includesZero: Bool)
    /// Σ e^−|y| (DartQuant, arXiv 2511.04063).
    case whip
    /// |mean y⁴ − 1.8|, 1.8 being the kurtosis of the uniform distribution (KurTail, arXiv 2503.01483).
    case kurtosis

    /// p of the soft extremes.
    private static let sharpness: Float = 4
    private static let uniformKurtosis: Float = 1.8

    /// Adds what rows `y` `[rows, n]`, rotated already, say of the rotation to `gradient`, `weight` times, and returns their
    /// loss so weighted.
    package func add(_ y: Tensor, weight: Double = 1, to gradient: RotationGradient) -> Double {
        let (rows, n) = (y.rows, y.columns)
        precondition(n == gradient.n, "rows \(y.shape) for a rotation of order \(gradient.n)")
        guard rows > 0 else { return 0 }
        var slope = Tensor(uninitialized: y.shape)
        let loss = sum(y, slopes: slope.mutablePointer)
        var product = Tensor(uninitialized: [n, n])
        matmul(y, .transposed, slope, .asStored, alpha: Float(weight), into: &product)
        gradient.add(product)
        return weight * loss
    }

    /// The loss of rows `y`, as ``add(_:weight:to:)`` returns it.
    package func loss(_ y: Tensor) -> Double { sum(y, slopes: nil) }

    /// - Parameter slopes: where the rows' go; nil where they are not wanted.
    private func sum(_ y: Tensor, slopes: UnsafeMutablePointer<Float>?) -> Double {
        let (rows, n) = (y.rows, y.columns)
        var losses = [Double](repeating: 0, count: rows)
        losses.withUnsafeMutableBufferPointer { losses in
            // An exponential takes as long as some elements that are gone through.
            Team.share(rows, cost: 8 * n) { run in
                withUnsafeTemporaryAllocation(of: Float.self, capacity: slopes == nil ? n : 0) { unused in
                    for row in run {
                        guard let slope = slopes.map({ $0 + row * n }) ?? unused.baseAddress else { return }
                        losses[row] = self.loss(y.pointer + row * n, slope: slope, n)
                    }
                }
            }
        }
        return losses.reduce(0, +)
    }

    /// The loss of one row.
    private func loss(_ y: UnsafePointer<Float>, slope: UnsafeMutablePointer<Float>, _ n: Int) -> Double {
        switch self {
        case .range(let symmetric, let includesZero):
            ck_range_loss(y, slope, 1, n, Self.sharpness, symmetric ? 1 : 0, includesZero && !symmetric ? 1 : 0)
        case .whip: ck_whip_loss(y, slope, 1, n)
        case .kurtosis: ck_kurtosis_loss(y, slope, 1, n, Self.uniformKurtosis)
        }
    }
}

extension Tensor {
    /// The rows scaled to root mean square 1; rows of zeros stay.
    package func normalizedRows() -> Tensor {
        var result = copy()
        let (width, target) = (columns, result.mutablePointer)
        for row in 0..<rows {
            let values = target + row * width
            let square = ck_sum_squares(values, width) / Double(width)
            // Rows so small that no float brings them there become as large as a float can make them.
            let factor = min(1 / square.squareRoot(), Double(Float.greatestFiniteMagnitude))
            if square > 0 { ck_scale(Float(factor), values, width) }
        }
        return result
    }
}
