internal import CKernels

/// The instruction set that this process's kernels are of.
package enum KernelSet {
    /// As `CK_ISA` names it, such as `avx512`.
    package static var chosen: String { String(cString: ck_isa_name(ck_chosen_isa())) }
}
