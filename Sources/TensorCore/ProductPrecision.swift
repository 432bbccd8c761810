internal import CKernels

/// The precision of the factors in a matrix product. Sums are float32 in either case.
package enum ProductPrecision: String, Sendable, CaseIterable {
    /// The factors as they are.
    case float32
    /// The factors' numbers rounded to bfloat16: 8 bits of precision, ties to even, a relative error of 2⁻⁹ at most.
    case bfloat16

    /// Whether this processor has instructions for such products. With them, products of bfloat16 numbers take as little as
    /// half the time of products of floats; without them, they take longer.
    package var isNative: Bool { self == .float32 || ck_chosen_isa() == CK_AVX512BF16 }
}
