internal import COpenBLAS

/// How OpenBLAS runs in this process: it factorizes matrices and multiplies doubles. Products of floats are this program's own.
package enum OpenBLAS {
    /// The processor family whose kernels it has chosen, such as `SkylakeX`.
    package static var core: String { String(cString: openblas_get_corename()) }

    /// Keeps its factorizations to the thread that asks for them: what they round would depend on the number of threads.
    package static func useOneThread() { openblas_set_num_threads(1) }
}
