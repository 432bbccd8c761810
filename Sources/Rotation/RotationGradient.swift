internal import CKernels
internal import LinearAlgebra
internal import Quantization
package import TensorCore

/// Gathers the gradient of one rotation over a training step.
///
/// With R ← R·exp(εA), A skew, the loss changes by ε·⟨A, M⟩, M = Rᵀ·∂loss/∂R; only M's skew part matters (arXiv 2002.01113).
/// The published sum for M runs over every input and output that carries R. But a network without quantizers does not depend
/// on R at all, so those terms cancel up to a symmetric matrix, and what remains comes from the quantizers alone. At a
/// quantizer that maps z to ẑ, both [rows, n] in rotated coordinates, with gradients dz and dẑ,
///
///     M ≡ dẑᵀ·ẑ − dzᵀ·z        (mod symmetric matrices)
///
/// and with the straight-through gradient, dz = dẑ, this is dẑᵀ·(ẑ − z). A quantized weight contributes likewise (see
/// `add(weightError:gradient:side:)`). So two sites per layer are visited instead of four, the embedding and the head not at
/// all, and small numbers are summed instead of differences of large ones.
///
/// The skew parts of the contributions are added in double precision. Rounded to float32, the sum is then the same in any order
/// of micro-batches and replicas, except for one entry in 10⁸.
package final class RotationGradient: QuantizerObserver {
    package let n: Int
    /// Precision of the products that give the contributions.
    let precision: ProductPrecision
    /// The skew part of the sum so far, as ``SkewMatrix`` packs it.
    package let skew: DoubleStorage

    package init(n: Int, precision: ProductPrecision = .float32) {
        self.n = n
        self.precision = precision
        skew = DoubleStorage(zeros: SkewMatrix.packedCount(order: n))
    }

    /// Sets the sum to 0.
    package func reset() { skew.reset() }

    /// Adds a part of M, or of a matrix with the same skew part.
    func add(_ contribution: Tensor) {
        let (source, target, n) = (contribution.pointer, skew.pointer, n)
        Team.share(n, cost: n / 2) { ck_add_skew(source, target, n, $0.lowerBound, $0.upperBound) }
    }

    /// A quantizer's contribution. Rows longer than n hold several vectors that are rotated alike (heads).
    package func observe(input z: Tensor, output quantized: Tensor, outputGradient: Tensor, inputGradient: Tensor) {
        let shape = [z.count / n, n]
        // dẑᵀ·ẑ − dzᵀ·z = dẑᵀ·(ẑ − z) − (dz − dẑ)ᵀ·z; the second term is zero for the straight-through gradient and has two
        // non-zeros a group for the range gradient.
        let error = quantized - z
        var contribution = Tensor(uninitialized: [n, n])
        matmul(outputGradient.reshaped(shape), .transposed, error.reshaped(shape), in: precision, into: &contribution)
        let (dz, dOutput, values, target) = (
            inputGradient.pointer, outputGradient.pointer, z.pointer, contribution.mutablePointer
        )
        let (rows, n) = (z.count / n, n)
        Team.share((n + 15) / 16, cost: 16 * rows) {
            ck_subtract_sparse_product(
                dz, dOutput, values, target, rows, n, 16 * $0.lowerBound, min(n, 16 * $0.upperBound))
        }
        add(contribution)
    }

    /// Which side of a weight a rotation is merged into.
    package enum Side {
        /// W' = W·R.
        case input
        /// W' = Rᵀ·W.
        case output
    }

    /// A quantized weight's contribution: with E = W' − Ŵ' (the quantization error) and G = ∂loss/∂Ŵ', both [out, in],
    /// M ≡ Eᵀ·G on the input side and E·Gᵀ on the output side, straight-through.
    ///
    /// Blocks of n columns (input side) or n rows (output side) are summed: the heads that share R2.
    package func add(weightError error: Tensor, gradient: Tensor, side: Side) {
        let (rows, columns) = (error.rows, error.columns)
        var contribution = Tensor(zeros: [n, n])
        let target = contribution.mutablePointer
        switch side {
        case .input:
            for first in stride(from: 0, to: columns, by: n) {
                gemm(
                    .transposed, .asStored, m: n, n: n, k: rows, error.pointer + first, lda: columns,
                    gradient.pointer + first, ldb: columns, beta: 1, target, ldc: n, in: precision)
            }
        case .output:
            for first in stride(from: 0, to: rows, by: n) {
                gemm(
                    .asStored, .transposed, m: n, n: n, k: columns, error.pointer + first * columns, lda: columns,
                    gradient.pointer + first * columns, ldb: columns, beta: 1, target, ldc: n, in: precision)
            }
        }
        add(contribution)
    }
}
