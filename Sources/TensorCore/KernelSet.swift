internal import CKernels

/// The instruction set that the kernels of this process are compiled for.
package enum KernelSet {
    /// Its name in `CK_ISA`, such as `avx512`.
    package static var chosen: String { String(cString: ck_isa_name(ck_chosen_isa())) }
}
