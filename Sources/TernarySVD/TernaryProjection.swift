internal import CKernels
internal import Glibc
internal import TensorCore

/// The nearest sign vector of few entries (arXiv 2308.07641, section 3): with |a| in decreasing order, score_j =
/// Σ_{i≤j}|a|_(i)/(√j·‖a‖) is the cosine between a and the signs of its j largest entries; the smallest j with score_j ≥
/// threshold is kept, or the best.
struct TernaryProjection {
    let threshold: Float
    private var scratch: [Float] = []

    init(threshold: Float) { self.threshold = threshold }

    /// Projects `a`, of Euclidean length `norm`, to `target`; returns the number of non-zeros. A threshold of 0 keeps every
    /// entry.
    @discardableResult
    mutating func project(_ a: UnsafePointer<Float>, count: Int, norm: Double, to target: UnsafeMutablePointer<Float>) -> Int {
        if scratch.count < count { scratch = [Float](repeating: 0, count: count) }
        return ck_ternary_project(a, count, Double(threshold) * norm, target, &scratch)
    }

    /// Projects a vector of any length.
    @discardableResult
    mutating func project(_ a: UnsafePointer<Float>, count: Int, to target: UnsafeMutablePointer<Float>) -> Int {
        project(a, count: count, norm: ck_sum_squares(a, count).squareRoot(), to: target)
    }

    /// Projects each row of a matrix of unit rows.
    static func ofUnitRows(_ a: Tensor, threshold: Float) -> Tensor {
        var projection = TernaryProjection(threshold: threshold)
        var result = Tensor(uninitialized: a.shape)
        let target = result.mutablePointer
        for i in 0..<a.rows {
            projection.project(a.pointer + i * a.columns, count: a.columns, norm: 1, to: target + i * a.columns)
        }
        return result
    }
}
