internal import CKernels
package import TensorCore

/// A matrix of floats in the type that it was stored in, for products with one token and with many: nothing is lost, and a
/// product with one token reads no more bytes than the file has.
package struct FloatMatrix: LinearOperator {
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

    package func rows(at indices: [Int32]) -> Tensor {
        var result = Tensor(uninitialized: [indices.count, shape[1]])
        let target = result.mutablePointer
        for (place, index) in indices.enumerated() {
            precondition(index >= 0 && index < shape[0], "row \(index) of \(shape)")
            widen(Int(index)..<Int(index) + 1, into: target + place * shape[1])
        }
        return result
    }

    /// Up to so many tokens are multiplied one by one.
    private static let fewTokens = 4
    /// Elements that are widened at a time for many tokens: what stays in the caches until it is multiplied.
    private static let widenedElements = 1 << 18
    /// Below so many elements a further thread costs more than it saves.
    private static let elementsOfAThread = 1 << 14

    /// x·Wᵀ, `[tokens, rows]`.
    package func product(_ x: Tensor) -> Tensor {
        precondition(x.columns == shape[1], "a matrix \(shape) for \(x.shape)")
        if x.rows <= Self.fewTokens { return Self.multiplyFew(x, [self])[0] }
        var result = Tensor(uninitialized: [x.rows, shape[0]])
        if form == .float32 {
            let source = elements.pointer.assumingMemoryBound(to: Float.self)
            multiply(x, source, 0..<shape[0], into: result.mutablePointer)
        } else {
            let step = max(1, Self.widenedElements / max(1, shape[1]))
            var some = Tensor(uninitialized: [min(step, shape[0]), shape[1]])
            for first in stride(from: 0, to: shape[0], by: step) {
                let range = first..<min(first + step, shape[0])
                widen(range, into: some.mutablePointer)
                multiply(x, some.pointer, range, into: result.mutablePointer)
            }
        }
        return result
    }

    private func multiply(
        _ x: Tensor, _ rows: UnsafePointer<Float>, _ range: Range<Int>, into y: UnsafeMutablePointer<Float>
    ) {
        gemm(
            .asStored, .transposed, m: x.rows, n: range.count, k: shape[1], x.pointer, lda: shape[1], rows, ldb: shape[1],
            y + range.lowerBound, ldc: shape[0])
    }

    /// x·Wᵀ of this and other matrices; of few tokens, threads share the rows of all together.
    package func products(_ x: Tensor, and others: [any LinearOperator]) -> [Tensor] {
        let alike = others.compactMap { $0 as? FloatMatrix }
        guard alike.count == others.count, x.rows <= Self.fewTokens else { return [product(x)] + others.map { $0.product(x) } }
        return Self.multiplyFew(x, [self] + alike)
    }

    /// Rows of a matrix that are multiplied together.
    private static let block = 16

    private static func multiplyFew(_ x: Tensor, _ matrices: [FloatMatrix]) -> [Tensor] {
        var results = matrices.map { Tensor(uninitialized: [x.rows, $0.shape[0]]) }
        let targets = results.indices.map { results[$0].mutablePointer }
        var ends: [Int] = []
        for matrix in matrices {
            precondition(x.columns == matrix.shape[1], "a matrix \(matrix.shape) for \(x.shape)")
            ends.append((ends.last ?? 0) + (matrix.shape[0] + block - 1) / block)
        }
        let count = ends.last ?? 0
        Team.share(count, in: min(Team.threads, count * block * x.columns / elementsOfAThread)) { blocks in
            var first = 0
            for ((matrix, y), end) in zip(zip(matrices, targets), ends) {
                let own = blocks.clamped(to: first..<end)
                if !own.isEmpty { matrix.multiplyFew(x, own.lowerBound - first..<own.upperBound - first, into: y) }
                first = end
            }
        }
        return results
    }

    private func multiplyFew(_ x: Tensor, _ blocks: Range<Int>, into y: UnsafeMutablePointer<Float>) {
        let (first, last) = (blocks.lowerBound * Self.block, min(shape[0], blocks.upperBound * Self.block))
        for token in 0..<x.rows {
            ck_matrix_vector(
                elements.pointer, form.kernel, first, last, shape[1], x.pointer + token * shape[1], y + token * shape[0])
        }
    }
}
