internal import COpenBLAS
internal import Dispatch

/// How OpenBLAS runs in this process.
package enum BLAS {
    /// Threads per product.
    package static var threads: Int {
        get { Int(openblas_get_num_threads()) }
        set { openblas_set_num_threads(Int32(newValue)) }
    }

    /// The processor family whose kernels OpenBLAS has chosen, such as `SkylakeX`.
    package static var core: String { String(cString: openblas_get_corename()) }

    /// Calls `body` for runs of 0..<count that together are all of it: one for each of `parts` threads at once.
    static func share(_ count: Int, in parts: Int, _ body: @Sendable (Range<Int>) -> Void) {
        let parts = min(parts, count)
        guard parts > 1 else { return body(0..<count) }
        DispatchQueue.concurrentPerform(iterations: parts) { part in
            body(part * count / parts..<(part + 1) * count / parts)
        }
    }
}
