package import TensorCore

/// max |a − b|; infinite if the counts differ, NaN if a difference is.
package func maxDifference(_ a: Tensor, _ b: Tensor) -> Float {
    a.count == b.count ? (a - b).maxMagnitude : .infinity
}

/// ‖a − b‖ / ‖b‖ (Frobenius); ‖a‖ where b is zero, infinite if the counts differ.
package func relativeError(_ a: Tensor, _ b: Tensor) -> Double {
    guard a.count == b.count else { return .infinity }
    let scale = b.squaredNorm
    return ((a - b).squaredNorm / (scale > 0 ? scale : 1)).squareRoot()
}
