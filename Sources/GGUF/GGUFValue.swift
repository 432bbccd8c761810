internal import Support

/// A value in the header of a GGUF file, with the type that it has there.
package enum GGUFValue: Equatable, Sendable {
    case uint8(UInt8), int8(Int8), uint16(UInt16), int16(Int16), uint32(UInt32), int32(Int32), uint64(UInt64), int64(Int64)
    case float32(Float), float64(Double)
    case bool(Bool)
    case string(String)
    /// All of one kind, which is no array.
    case array(Kind, [GGUFValue])

    /// The types by their numbers in the file.
    package enum Kind: UInt32, Sendable {
        case uint8 = 0, int8 = 1, uint16 = 2, int16 = 3, uint32 = 4, int32 = 5, float32 = 6, bool = 7, string = 8, array = 9
        case uint64 = 10, int64 = 11, float64 = 12

        /// Bytes that a value takes at least.
        var leastSize: Int {
            switch self {
            case .uint8, .int8, .bool: 1
            case .uint16, .int16: 2
            case .uint32, .int32, .float32: 4
            case .uint64, .int64, .float64, .string: 8
            case .array: 12
            }
        }
    }

    /// An array of texts.
    package static func strings(_ values: [String]) -> GGUFValue { .array(.string, values.map { .string($0) }) }

    /// An array of int32.
    package static func integers(_ values: [Int32]) -> GGUFValue { .array(.int32, values.map { .int32($0) }) }

    var kind: Kind {
        switch self {
        case .uint8: .uint8
        case .int8: .int8
        case .uint16: .uint16
        case .int16: .int16
        case .uint32: .uint32
        case .int32: .int32
        case .uint64: .uint64
        case .int64: .int64
        case .float32: .float32
        case .float64: .float64
        case .bool: .bool
        case .string: .string
        case .array: .array
        }
    }

    // MARK: What a value says

    package var string: String? { if case .string(let value) = self { value } else { nil } }
    package var bool: Bool? { if case .bool(let value) = self { value } else { nil } }

    /// Of any integer type; nil also where it is beyond Int.
    package var integer: Int? {
        switch self {
        case .uint8(let value): Int(value)
        case .int8(let value): Int(value)
        case .uint16(let value): Int(value)
        case .int16(let value): Int(value)
        case .uint32(let value): Int(value)
        case .int32(let value): Int(value)
        case .uint64(let value): Int(exactly: value)
        case .int64(let value): Int(value)
        default: nil
        }
    }

    /// Of any type of number.
    package var number: Double? {
        switch self {
        case .float32(let value): Double(value)
        case .float64(let value): value
        default: integer.map(Double.init)
        }
    }

    package var strings: [String]? { elements(\.string) }
    package var numbers: [Double]? { elements(\.number) }
    package var integers: [Int]? { elements(\.integer) }

    private func elements<Value>(_ convert: (GGUFValue) -> Value?) -> [Value]? {
        guard case .array(_, let values) = self else { return nil }
        var result: [Value] = []
        for value in values {
            guard let converted = convert(value) else { return nil }
            result.append(converted)
        }
        return result
    }
}

// MARK: - Bytes

extension GGUFValue {
    /// The value as it stands in a file, without its type.
    func append(to bytes: inout [UInt8]) {
        switch self {
        case .uint8(let value): bytes.append(value)
        case .int8(let value): bytes.append(UInt8(bitPattern: value))
        case .uint16(let value): bytes.append(littleEndian: value)
        case .int16(let value): bytes.append(littleEndian: value)
        case .uint32(let value): bytes.append(littleEndian: value)
        case .int32(let value): bytes.append(littleEndian: value)
        case .uint64(let value): bytes.append(littleEndian: value)
        case .int64(let value): bytes.append(littleEndian: value)
        case .float32(let value): bytes.append(littleEndian: value.bitPattern)
        case .float64(let value): bytes.append(littleEndian: value.bitPattern)
        case .bool(let value): bytes.append(value ? 1 : 0)
        case .string(let value): bytes.append(ggufString: value)
        case .array(let kind, let values):
            precondition(kind != .array && values.allSatisfy { $0.kind == kind }, "an array holds values of one plain kind")
            bytes.append(littleEndian: kind.rawValue)
            bytes.append(littleEndian: UInt64(values.count))
            for value in values { value.append(to: &bytes) }
        }
    }
}

extension [UInt8] {
    mutating func append(ggufString text: String) {
        append(littleEndian: UInt64(text.utf8.count))
        append(contentsOf: text.utf8)
    }
}
