internal import CKernels
internal import COpenBLAS

/// How OpenBLAS runs in this process.
package enum BLAS {
    /// Threads per product.
    package static var threads: Int {
        get { Int(openblas_get_num_threads()) }
        set { openblas_set_num_threads(Int32(newValue)) }
    }

    /// The processor family whose kernels OpenBLAS has chosen, such as `SkylakeX`.
    package static var core: String { String(cString: openblas_get_corename()) }

    /// Calls `body` for runs of 0..<count that together are all of it, on up to `threads` threads: more runs than threads, so
    /// that one that is late leaves its runs to the others.
    package static func share(_ count: Int, in threads: Int, _ body: @Sendable (Range<Int>) -> Void) {
        let parts = min(count, threads * 4)
        guard threads > 1, parts > 1 else { return body(0..<count) }
        withoutActuallyEscaping(body) { body in
            var work = SharedWork(count: count, parts: parts, body: body)
            withUnsafeMutablePointer(to: &work) { work in
                ck_share(
                    threads, parts,
                    { context, part in
                        guard let work = context?.assumingMemoryBound(to: SharedWork.self).pointee else { return }
                        work.body(part * work.count / work.parts..<(part + 1) * work.count / work.parts)
                    }, work)
            }
        }
    }
}

private struct SharedWork {
    let count: Int
    let parts: Int
    let body: @Sendable (Range<Int>) -> Void
}
