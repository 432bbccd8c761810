internal import CKernels
package import TensorCore

/// A matrix of floats in the type that it was stored in, for products with one token and with many: nothing is lost, and a
/// product with one token reads no more bytes than the file has.
package struct FloatMatrix: RowMatrix {
    /// The type in which elements are stored.
    package enum Form: Sendable {
        case float32, float16, bfloat16

        fileprivate var kernel: ck_float_form {
            switch self {
            case .float32: CK_F32
            case .float16: CK_F16
            case .bfloat16: CK_BF16
            }
        }

        fileprivate var size: Int { self == .float32 ? 4 : 2 }
    }

    package let shape: [Int]
    private let form: Form
    private let elements: ByteStorage

    /// - Precondition: two axes; elements that the form holds exactly.
    package init(_ matrix: Tensor, as form: Form) {
        precondition(matrix.shape.count == 2, "a matrix of shape \(matrix.shape)")
        (shape, self.form) = (matrix.shape, form)
        elements = ByteStorage(uninitialized: matrix.count * form.size)
        switch form {
        case .float32: elements.pointer.copyMemory(from: matrix.pointer, byteCount: 4 * matrix.count)
        case .float16: ck_narrow_f16(matrix.pointer, elements.pointer, matrix.count)
        case .bfloat16: ck_narrow_bf16(matrix.pointer, elements.pointer, matrix.count)
        }
    }

    package var byteCount: Int { elements.count }

    /// Some rows as float32.
    package func widen(_ range: Range<Int>, into target: UnsafeMutablePointer<Float>) {
        let source = elements.pointer + range.lowerBound * shape[1] * form.size
        switch form {
        case .float32: UnsafeMutableRawPointer(target).copyMemory(from: source, byteCount: 4 * range.count * shape[1])
        case .float16: ck_widen_f16(source, target, range.count * shape[1])
        case .bfloat16: ck_widen_bf16(source, target, range.count * shape[1])
        }
    }

    /// y ← rows of W·x, straight from the type in which the matrix is kept.
    package func multiply(_ x: UnsafePointer<Float>, _ rows: Range<Int>, into y: UnsafeMutablePointer<Float>) {
        ck_matrix_vector(elements.pointer, form.kernel, rows.lowerBound, rows.upperBound, shape[1], x, y)
    }

    /// x·Wᵀ for many tokens, `[tokens, rows]`; float32 needs no widening.
    package func multiplyMany(_ x: Tensor) -> Tensor {
        guard form == .float32 else { return multiplyWidened(x) }
        var result = Tensor(uninitialized: [x.rows, shape[0]])
        multiply(x, elements.pointer.assumingMemoryBound(to: Float.self), 0..<shape[0], into: result.mutablePointer)
        return result
    }
}
