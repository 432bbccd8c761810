internal import CKernels

extension Tensor {
    /// self ← self + scale·other, element by element.
    package mutating func add(_ other: Tensor, scale: Float = 1) {
        precondition(count == other.count, "add \(other.shape) to \(shape)")
        ck_axpy(scale, other.pointer, mutablePointer, count)
    }

    /// self ← self·factor.
    package mutating func scale(by factor: Float) { ck_scale(factor, mutablePointer, count) }

    /// Sets every element.
    package mutating func fill(_ value: Float) { mutablePointer.update(repeating: value, count: count) }

    /// self ← the elements of `other`, in place.
    package mutating func assign(_ other: Tensor) {
        precondition(count == other.count, "assign \(other.shape) to \(shape)")
        mutablePointer.update(from: other.pointer, count: count)
    }

    /// Σ x².
    package var squaredNorm: Double { ck_sum_squares(pointer, count) }

    /// max |x|; 0 when empty, NaN where any element is NaN.
    package var maxMagnitude: Float { ck_max_abs(pointer, count) }

    /// Whether no element is NaN or infinite.
    package var isFinite: Bool { ck_all_finite(pointer, count) != 0 }

    package static func + (a: Tensor, b: Tensor) -> Tensor {
        var result = a.copy()
        result.add(b)
        return result
    }

    package static func - (a: Tensor, b: Tensor) -> Tensor {
        var result = a.copy()
        result.add(b, scale: -1)
        return result
    }
}
