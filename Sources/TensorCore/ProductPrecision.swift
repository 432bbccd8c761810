internal import CKernels

/// The precision of the numbers that a product of matrices multiplies. What it adds up is float32 either way.
package enum ProductPrecision: String, Sendable, CaseIterable {
    /// The factors' own.
    case float32
    /// The factors' numbers rounded to bfloat16: 8 bits of precision, ties to even, a relative error of 2⁻⁹ at most.
    case bfloat16

    /// Whether this processor has instructions for such products. Products of bfloat16 numbers then take down to half the time
    /// of those of floats; without them they take longer.
    package var isNative: Bool { self == .float32 || ck_chosen_isa() == CK_AVX512BF16 }
}
