internal import COpenBLAS
internal import Support
internal import Synchronization

/// Whether a matrix enters a product as stored or transposed.
package enum Orientation: Sendable {
    case asStored, transposed
    fileprivate var blas: CBLAS_TRANSPOSE { self == .asStored ? CblasNoTrans : CblasTrans }
}

/// C ← α·op(A)·op(B) + β·C on row-major memory; op(A) is m×k, op(B) is k×n, C is m×n.
///
/// Leading dimensions are in elements: the distance between rows as stored. 2·m·n·k floating-point operations.
@inline(__always)
package func gemm(
    _ opA: Orientation, _ opB: Orientation, m: Int, n: Int, k: Int,
    alpha: Float = 1, _ a: UnsafePointer<Float>, lda: Int, _ b: UnsafePointer<Float>, ldb: Int,
    beta: Float = 0, _ c: UnsafeMutablePointer<Float>, ldc: Int
) {
    GEMMOperations.count(2 * m * n * k)
    defer { WorkProgress.note() }
    cblas_sgemm(
        CblasRowMajor, opA.blas, opB.blas, Int32(m), Int32(n), Int32(k), alpha, a, Int32(lda), b, Int32(ldb), beta, c,
        Int32(ldc))
}

/// Floating-point operations spent in `gemm` by this process, so that a test can hold a cost model against what ran.
package enum GEMMOperations {
    private static let total = Atomic<Int>(0)
    package static var performed: Int { total.load(ordering: .relaxed) }
    fileprivate static func count(_ operations: Int) { total.add(operations, ordering: .relaxed) }
}
