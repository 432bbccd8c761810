/// The element types of safetensors files, by their names in the header.
package enum ElementType: String, Sendable, CaseIterable {
    case f64 = "F64", f32 = "F32", f16 = "F16", bf16 = "BF16"
    case i64 = "I64", i32 = "I32", i16 = "I16", i8 = "I8"
    case u64 = "U64", u32 = "U32", u16 = "U16", u8 = "U8", bool = "BOOL"
    case f8e4m3 = "F8_E4M3", f8e5m2 = "F8_E5M2"

    /// Whether elements are the values themselves: a matrix of any other type needs scales that are kept elsewhere.
    package var isFloat: Bool { [.f64, .f32, .f16, .bf16].contains(self) }

    /// Bytes of one element.
    package var size: Int {
        switch self {
        case .f64, .i64, .u64: 8
        case .f32, .i32, .u32: 4
        case .f16, .bf16, .i16, .u16: 2
        case .i8, .u8, .bool, .f8e4m3, .f8e5m2: 1
        }
    }
}

extension ElementType {
    /// The types that models are written in.
    private static let written: [ElementType] = [.f32, .f16, .bf16]

    /// The name in PyTorch and in `config.json`.
    ///
    /// - Precondition: a type that models are written in.
    package var frameworkName: String {
        switch self {
        case .f32: "float32"
        case .f16: "float16"
        case .bf16: "bfloat16"
        default: preconditionFailure("models are not written in \(rawValue)")
        }
    }

    /// The type of this name in PyTorch; nil for one that models are not written in.
    package init?(frameworkName: String) {
        guard let type = Self.written.first(where: { $0.frameworkName == frameworkName }) else { return nil }
        self = type
    }
}

/// The number of elements of a shape from a file; nil if an extent is negative, or if the product, zeros left out,
/// passes 2⁵⁹: then neither that product nor a part of it, times the size of an element, overflows.
func elementCount(_ shape: [Int]) -> Int? {
    var product = 1
    for extent in shape {
        guard extent >= 0 else { return nil }
        let (next, overflow) = product.multipliedReportingOverflow(by: max(extent, 1))
        guard !overflow, next <= 1 << 59 else { return nil }
        product = next
    }
    return shape.contains(0) ? 0 : product
}
