/// Unsigned little-endian fields of a byte array; nil past its end.
extension [UInt8] {
    func unsigned<Value: FixedWidthInteger & UnsignedInteger>(_: Value.Type, at offset: Int) -> Value? {
        let size = Value.bitWidth / 8
        guard offset >= 0, size <= count, offset <= count - size else { return nil }
        return self[offset..<offset + size].reversed().reduce(0) { $0 << 8 | Value($1) }
    }

    func u16(_ offset: Int) -> Int? { unsigned(UInt16.self, at: offset).map(Int.init) }
    func u32(_ offset: Int) -> Int? { unsigned(UInt32.self, at: offset).map(Int.init) }
    /// Nil also above Int's range.
    func u64(_ offset: Int) -> Int? { unsigned(UInt64.self, at: offset).flatMap(Int.init(exactly:)) }

    mutating func append<Value: FixedWidthInteger>(littleEndian value: Value) {
        Swift.withUnsafeBytes(of: value.littleEndian) { self += $0 }
    }
}
