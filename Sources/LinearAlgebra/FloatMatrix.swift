internal import CKernels
package import TensorCore

/// A matrix of floats in the type that it was stored in, for products with one token and with many: nothing is lost, and a
/// product with one token reads no more bytes than the file has.
package struct FloatMatrix: RowMatrix {
    /// How the elements rest.
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
    package var tensor: Tensor { widened(0..<shape[0]) }

    /// The rows of `range` in float32.
    private func widened(_ range: Range<Int>) -> Tensor {
        var result = Tensor(uninitialized: [range.count, shape[1]])
        widen(range, into: result.mutablePointer)
        return result
    }

    private func widen(_ range: Range<Int>, into target: UnsafeMutablePointer<Float>) {
        let source = elements.pointer + range.lowerBound * shape[1] * form.size
        switch form {
        case .float32: UnsafeMutableRawPointer(target).copyMemory(from: source, byteCount: 4 * range.count * shape[1])
        case .float16: ck_widen_f16(source, target, range.count * shape[1])
        case .bfloat16: ck_widen_bf16(source, target, range.count * shape[1])
        }
    }

    /// Rows of the matrix widened to float32, `[indices.count, n]`. - Precondition: there are such rows.
    package func rows(at indices: [Int32]) -> Tensor {
        var result = Tensor(uninitialized: [indices.count, shape[1]])
        let target = result.mutablePointer
        for (place, index) in indices.enumerated() {
            precondition(index >= 0 && index < shape[0], "row \(index) of \(shape)")
            widen(Int(index)..<Int(index) + 1, into: target + place * shape[1])
        }
        return result
    }

    /// y ← rows of W·x, straight from the type in which the matrix is kept.
    package func multiply(_ x: UnsafePointer<Float>, _ rows: Range<Int>, into y: UnsafeMutablePointer<Float>) {
        ck_matrix_vector(elements.pointer, form.kernel, rows.lowerBound, rows.upperBound, shape[1], x, y)
    }

    /// x·Wᵀ for several tokens `[tokens, in]`, rows widened to float32 a block at a time.
    package func multiplyMany(_ x: Tensor) -> Tensor {
        var result = Tensor(uninitialized: [x.rows, shape[0]])
        if form == .float32 {
            let source = elements.pointer.assumingMemoryBound(to: Float.self)
            multiply(x, source, 0..<shape[0], into: result.mutablePointer)
        } else {
            multiplyWidened(x, into: result.mutablePointer, widen)
        }
        return result
    }
}
