internal import LinearAlgebra
package import Quantization
package import TensorCore

/// How errors of a layer's weight are weighted (`ternary.weighting`).
package enum TernaryWeighting: String, Sendable, CaseIterable {
    /// All entries of the balanced matrix equally, without data.
    case none
    /// By the second moment of the layer's inputs.
    case inputs
    /// By the inputs, and every row relative to its own size.
    case both
}

/// The norm of a layer's outputs, tr(O·E·H·Eᵀ) for an error E `[m, n]` of its weight: H = E[x·xᵀ] of the inputs with a damping,
/// O diagonal.
package struct OutputNorm: Sendable {
    /// H, `[n, n]`, symmetric.
    package let inputs: Tensor

    /// The fraction of H's mean diagonal that is added to the diagonal.
    package static let damping = 0.01

    /// With a second moment H, `[n, n]`, without damping.
    package init(inputs: Tensor) {
        precondition(inputs.rows == inputs.columns, "a second moment of shape \(inputs.shape)")
        self.inputs = inputs
    }

    /// - Throws: ``QuantizationError`` where there were no tokens, a value was not finite, or all are 0.
    package init(_ statistics: InputStatistics) throws(QuantizationError) {
        try statistics.check()
        let (n, tokens) = (statistics.width, Double(statistics.rows))
        let added = Self.damping * statistics.meanSquares.reduce(0, +) / Double(n)
        var moment = Tensor(uninitialized: [n, n])
        let target = moment.mutablePointer
        for i in 0..<n {
            let products = statistics.productRow(i)
            for j in 0...i {
                let value = Float(products[j] / tokens + (i == j ? added : 0))
                (target[i * n + j], target[j * n + i]) = (value, value)
            }
        }
        inputs = moment
    }

    /// Σ_i o_i·e_i·H·e_iᵀ over the rows of E, in double precision.
    package func squared(_ error: Tensor, rowWeights: [Float]) -> Double {
        let image = matmul(error, .asStored, inputs)
        let n = error.columns
        var sum = 0.0
        for (i, weight) in rowWeights.enumerated() {
            let (row, product) = (error.pointer + i * n, image.pointer + i * n)
            var own = 0.0
            for j in 0..<n { own += Double(row[j]) * Double(product[j]) }
            sum += Double(weight) * own
        }
        return sum
    }

    /// diag(b)·H·diag(b).
    func balanced(_ b: [Float]) -> Tensor { Balance(a: b, b: b).restored(inputs) }
}

extension Float {
    /// The nearest number of 16 bits with the exponents of float32, so that a file holds it in two bytes.
    var roundedToBFloat16: Float {
        let rounded = BFloat16.widen(BFloat16.narrow(self))
        return rounded.isFinite ? rounded : self
    }
}
