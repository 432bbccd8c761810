internal import CKernels
internal import Support
package import TensorCore

extension ElementType {
    /// Whether ``widen(_:into:count:)`` knows this type.
    var readsAsFloat: Bool {
        switch self {
        case .f64, .f32, .f16, .bf16, .i8: true
        default: false
        }
    }

    /// `target[i] = Float(source[i])`. - Precondition: `readsAsFloat`.
    func widen(_ source: UnsafeRawPointer, into target: UnsafeMutablePointer<Float>, count: Int) {
        switch self {
        case .f64: ck_widen_f64(source, target, count)
        case .f32: UnsafeMutableRawPointer(target).copyMemory(from: source, byteCount: 4 * count)
        case .f16: ck_widen_f16(source, target, count)
        case .bf16: ck_widen_bf16(source, target, count)
        case .i8: ck_widen_i8(source, target, count)
        default: preconditionFailure("\(rawValue) does not read as float")
        }
    }

    /// The integers in `bytes`; nil for types that are no integers, and for values above Int's range.
    func integers(_ bytes: [UInt8]) -> [Int]? {
        switch self {
        case .i64: load(bytes, Int64.self)
        case .i32: load(bytes, Int32.self)
        case .i16: load(bytes, Int16.self)
        case .i8: load(bytes, Int8.self)
        case .u32: load(bytes, UInt32.self)
        case .u16: load(bytes, UInt16.self)
        case .u8, .bool: load(bytes, UInt8.self)
        default: nil
        }
    }

    private func load<Element: FixedWidthInteger>(_ bytes: [UInt8], _: Element.Type) -> [Int] {
        bytes.withUnsafeBytes { raw in
            (0..<raw.count / size).map {
                Int(Element(littleEndian: raw.loadUnaligned(fromByteOffset: $0 * size, as: Element.self)))
            }
        }
    }

    /// The elements as little-endian bytes.
    /// - Precondition: a floating-point type of a checkpoint (F32, F16, BF16).
    func narrow(_ source: UnsafePointer<Float>, count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count * size) { buffer, filled in
            guard count > 0, let target = UnsafeMutableRawPointer(buffer.baseAddress) else { return }
            switch self {
            case .f32: target.copyMemory(from: source, byteCount: 4 * count)
            case .f16: ck_narrow_f16(source, target, count)
            case .bf16: ck_narrow_bf16(source, target, count)
            default: preconditionFailure("floats are not written as \(rawValue)")
            }
            filled = count * size
        }
    }

    /// Integers as little-endian bytes. - Precondition: an integer type that holds every value.
    func encode(_ integers: ArraySlice<Int>) -> [UInt8] {
        switch self {
        case .i64: store(integers, Int64.self)
        case .i32: store(integers, Int32.self)
        case .i16: store(integers, Int16.self)
        case .i8: store(integers, Int8.self)
        case .u32: store(integers, UInt32.self)
        case .u16: store(integers, UInt16.self)
        case .u8, .bool: store(integers, UInt8.self)
        default: preconditionFailure("integers are not written as \(rawValue)")
        }
    }

    private func store<Element: FixedWidthInteger>(_ integers: ArraySlice<Int>, _: Element.Type) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(integers.count * size)
        for integer in integers { withUnsafeBytes(of: Element(integer).littleEndian) { bytes += $0 } }
        return bytes
    }
}

extension Tensor {
    /// The elements as a file of this type would give them back. - Precondition: F32, F16 or BF16.
    package func rounded(to type: ElementType) -> Tensor {
        guard type != .f32 else { return self }
        var result = Tensor(uninitialized: shape)
        type.narrow(pointer, count: count).withUnsafeBytes { bytes in
            if let source = bytes.baseAddress { type.widen(source, into: result.mutablePointer, count: count) }
        }
        return result
    }
}
