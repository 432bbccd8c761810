internal import CKernels

extension Tensor {
    /// self ← self + scale·other, element by element.
    package mutating func add(_ other: Tensor, scale: Float = 1) {
        precondition(count == other.count, "add \(other.shape) to \(shape)")
        Team.add(other.pointer, to: mutablePointer, count, scale: scale)
    }

    /// self ← self·factor.
    package mutating func scale(by factor: Float) {
        let target = mutablePointer
        Team.shareElements(count) { ck_scale(factor, target + $0.lowerBound, $0.count) }
    }

    /// Sets every element.
    package mutating func fill(_ value: Float) {
        let target = mutablePointer
        Team.shareElements(count) { (target + $0.lowerBound).update(repeating: value, count: $0.count) }
    }

    /// Σ x².
    package var squaredNorm: Double { ck_sum_squares(pointer, count) }

    /// max |x|; 0 when empty, NaN where any element is NaN.
    package var maxMagnitude: Float { ck_max_abs(pointer, count) }

    /// Whether no element is NaN or infinite.
    package var isFinite: Bool { ck_all_finite(pointer, count) != 0 }

    /// a + b, of equal shapes.
    package static func + (a: Tensor, b: Tensor) -> Tensor {
        weightedSum(a, 1, b)
    }

    /// a − b, of equal shapes.
    package static func - (a: Tensor, b: Tensor) -> Tensor {
        weightedSum(a, -1, b)
    }

    /// a + scale·b.
    private static func weightedSum(_ a: Tensor, _ scale: Float, _ b: Tensor) -> Tensor {
        precondition(a.count == b.count, "add \(b.shape) to \(a.shape)")
        var result = Tensor(uninitialized: a.shape)
        let (x, y, target) = (a.pointer, b.pointer, result.mutablePointer)
        Team.shareElements(a.count) {
            ck_weighted_sum(x + $0.lowerBound, scale, y + $0.lowerBound, target + $0.lowerBound, $0.count)
        }
        return result
    }
}
