internal import Support

/// Integers of b bits in rows of 32-bit words, as compressed-tensors lays them out (`pack-quantized`).
///
/// Element i of a row is at bits [i·b, (i+1)·b) of the row's words, lowest bit first. It may cross words where b does not
/// divide 32. Rows begin at a word.
package enum PackedIntegers {
    /// Words of a row.
    package static func words(_ count: Int, bits: Int) -> Int { (count * bits + 31) / 32 }

    /// Whether the words hold ⌊32/b⌋ values each and nothing above them. That was compressed-tensors' layout before mid-2026,
    /// which differs where b does not divide 32. Rows of few words may have equally many in both layouts. Then the old layout
    /// has zeros in the top bits of every word, and the present one only after the last value.
    package static func isOfWholeWords(_ bytes: [UInt8], rows: Int, columns: Int, bits: Int) -> Bool {
        let used = 32 / bits * bits
        let (dense, whole) = (words(columns, bits: bits), (columns * bits + used - 1) / used)
        guard used < 32, whole > 1, bytes.count == 4 * rows * whole else { return false }
        guard whole == dense else { return true }
        var (above, behind): (UInt32, UInt32) = (0, 0)
        for row in 0..<rows {
            for word in 0..<whole { above |= bytes.littleEndian(at: 4 * (row * whole + word), UInt32.self) >> UInt32(used) }
            let last = bytes.littleEndian(at: 4 * (row * whole + whole - 1), UInt32.self)
            behind |= last >> UInt32(columns * bits - 32 * (whole - 1))
        }
        return above == 0 && behind != 0
    }

    /// - Parameter values: row-major, of `columns` each; 0 to 2^bits − 1.
    package static func pack(_ values: [Int16], columns: Int, bits: Int) -> [UInt8] {
        let (rows, rowBytes) = (columns == 0 ? 0 : values.count / columns, 4 * words(columns, bits: bits))
        return [UInt8](unsafeUninitializedCapacity: rows * rowBytes) { bytes, count in
            values.withUnsafeBufferPointer { values in
                for row in 0..<rows {
                    var (buffer, filled, at): (UInt32, Int, Int) = (0, 0, row * rowBytes)
                    for column in 0..<columns {
                        buffer |= UInt32(truncatingIfNeeded: values[row * columns + column]) << UInt32(filled)
                        filled += bits
                        while filled >= 8 {
                            bytes[at] = UInt8(truncatingIfNeeded: buffer)
                            (buffer, filled, at) = (buffer >> 8, filled - 8, at + 1)
                        }
                    }
                    while at < (row + 1) * rowBytes {
                        bytes[at] = UInt8(truncatingIfNeeded: buffer)
                        (buffer, at) = (0, at + 1)
                    }
                }
            }
            count = rows * rowBytes
        }
    }

    /// The inverse of ``pack(_:columns:bits:)``.
    ///
    /// - Precondition: as many bytes as the rows' words have.
    package static func unpack(_ bytes: [UInt8], rows: Int, columns: Int, bits: Int) -> [Int16] {
        let rowBytes = 4 * words(columns, bits: bits)
        precondition(
            bytes.count == rows * rowBytes, "\(bytes.count) bytes for \(rows) rows of \(columns) values of \(bits) bits")
        let mask = UInt32(1 << bits) - 1
        return [Int16](unsafeUninitializedCapacity: rows * columns) { values, count in
            bytes.withUnsafeBufferPointer { bytes in
                for row in 0..<rows {
                    var (buffer, filled, at): (UInt32, Int, Int) = (0, 0, row * rowBytes)
                    for column in 0..<columns {
                        while filled < bits {
                            buffer |= UInt32(bytes[at]) << UInt32(filled)
                            (filled, at) = (filled + 8, at + 1)
                        }
                        values[row * columns + column] = Int16(buffer & mask)
                        (buffer, filled) = (buffer >> UInt32(bits), filled - bits)
                    }
                }
            }
            count = rows * columns
        }
    }
}
