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
}
