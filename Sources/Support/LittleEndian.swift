/// Little-endian fields of a byte array.
extension [UInt8] {
    /// Adds the value's bytes, the lowest first.
    @inlinable package mutating func append<Value: FixedWidthInteger>(littleEndian value: Value) {
        Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
    }

    /// The numbers' bit patterns.
    package mutating func append(floats: [Float]) {
        for value in floats { append(littleEndian: value.bitPattern) }
    }

    /// The value at a byte offset. - Precondition: it lies inside.
    @inlinable package func littleEndian<Value: FixedWidthInteger & BitwiseCopyable>(
        at offset: Int, _: Value.Type = Value.self
    ) -> Value {
        precondition(offset >= 0 && offset + Value.bitWidth / 8 <= count, "\(Value.bitWidth) bits at \(offset) of \(count)")
        return withUnsafeBytes { Value(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: Value.self)) }
    }

    /// The unsigned value at a byte offset; nil where it does not lie inside.
    package func unsigned<Value: FixedWidthInteger & UnsignedInteger & BitwiseCopyable>(_: Value.Type, at offset: Int) -> Value?
    {
        let size = Value.bitWidth / 8
        guard offset >= 0, size <= count, offset <= count - size else { return nil }
        return littleEndian(at: offset)
    }

    /// Two bytes as an unsigned integer; nil where they reach beyond the end.
    package func u16(_ offset: Int) -> Int? { unsigned(UInt16.self, at: offset).map(Int.init) }

    /// Four bytes as an unsigned integer; nil where they reach beyond the end.
    package func u32(_ offset: Int) -> Int? { unsigned(UInt32.self, at: offset).map(Int.init) }
    /// Nil also above Int's range.
    package func u64(_ offset: Int) -> Int? { unsigned(UInt64.self, at: offset).flatMap(Int.init(exactly:)) }
}
