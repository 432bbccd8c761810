internal import CKernels
internal import Support
internal import Synchronization
package import TensorCore

/// Whether a matrix enters a product as stored or transposed.
package enum Orientation: Sendable {
    case asStored, transposed
}

/// C ← α·op(A)·op(B) + β·C on row-major memory; op(A) is m×k, op(B) is k×n, C is m×n.
///
/// Leading dimensions are in elements: the distance between rows as stored. 2·m·n·k floating-point operations, shared by the
/// `Team`; a number of C depends neither on the threads nor on the other rows and columns (`ck_product.h`).
///
/// - Parameter precision: of what is multiplied.
@inline(__always)
package func gemm(
    _ opA: Orientation, _ opB: Orientation, m: Int, n: Int, k: Int,
    alpha: Float = 1, _ a: UnsafePointer<Float>, lda: Int, _ b: UnsafePointer<Float>, ldb: Int,
    beta: Float = 0, _ c: UnsafeMutablePointer<Float>, ldc: Int, in precision: ProductPrecision = .float32
) {
    GEMMOperations.count(2 * m * n * k)
    defer { WorkProgress.note() }
    ck_product(
        precision == .bfloat16 ? CK_BFLOAT16 : CK_FLOAT32, opA == .transposed ? 1 : 0, opB == .transposed ? 1 : 0, m, n, k,
        alpha, a, lda, b, ldb, beta, c, ldc, Team.threads)
}

/// Floating-point operations spent in `gemm` by this process, so that a test can hold a cost model against what ran.
package enum GEMMOperations {
    private static let total = Atomic<Int>(0)
    package static var performed: Int { total.load(ordering: .relaxed) }
    fileprivate static func count(_ operations: Int) { total.add(operations, ordering: .relaxed) }
}
