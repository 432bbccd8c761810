import Compression
import Testing

@Suite struct PackedIntegersTests {
    /// As compressed-tensors packs them.
    @Test func `words hold values lowest bits first`() {
        func words(_ values: [Int], bits: Int) -> [UInt32] {
            let stored = values.map { Int16($0 + 1 << (bits - 1)) }
            let bytes = PackedIntegers.pack(stored, columns: stored.count, bits: bits)
            return stride(from: 0, to: bytes.count, by: 4).map { at in
                (0..<4).reduce(0) { $0 | UInt32(bytes[at + $1]) << UInt32(8 * $1) }
            }
        }
        #expect(words(Array(-8 ... -1), bits: 4) == [0x7654_3210])
        #expect(words([1, 2, 3, 4, 5, 6, 7, -8], bits: 4) == [0x0FED_CBA9])
        #expect(words([-1, 0, 1, -1, -1, 0, 1, -1, -1, 0, 1, -1, -1, 0, 1, -1], bits: 2) == [0x7979_7979])
    }

    @Test(arguments: 2...8) func `what is packed is unpacked`(_ bits: Int) {
        for columns in [1, 5, 31, 32, 33, 96, 100] {
            let values = (0..<3 * columns).map { Int16(truncatingIfNeeded: ($0 &* 2_654_435_761 >> 7) & (1 << bits - 1)) }
            let bytes = PackedIntegers.pack(values, columns: columns, bits: bits)
            #expect(bytes.count == 12 * PackedIntegers.words(columns, bits: bits))
            #expect(PackedIntegers.unpack(bytes, rows: 3, columns: columns, bits: bits) == values)
        }
    }

    /// Words that hold ⌊32/b⌋ values each, as compressed-tensors packed until mid-2026.
    static func wholeWords(_ values: [Int16], columns: Int, bits: Int) -> [UInt8] {
        let perWord = 32 / bits
        return stride(from: 0, to: values.count, by: columns).flatMap { row in
            stride(from: 0, to: columns, by: perWord).flatMap { first in
                let word = (first..<min(first + perWord, columns)).reduce(UInt32(0)) {
                    $0 | UInt32(values[row + $1]) << UInt32(bits * ($1 - first))
                }
                return (0..<4).map { UInt8(truncatingIfNeeded: word >> UInt32(8 * $0)) }
            }
        }
    }

    @Test(arguments: 2...8) func `words that no value crosses are told from those that one does`(_ bits: Int) {
        // Of few rows of narrow matrices all bits that tell may be 0.
        let rows = 40
        for columns in [1, 3, 5, 9, 10, 11, 17, 20, 31, 32, 33, 64, 100, 256] {
            let values = (0..<rows * columns).map { Int16(truncatingIfNeeded: ($0 &* 2_654_435_761 >> 7) & (1 << bits - 1)) }
            let dense = PackedIntegers.pack(values, columns: columns, bits: bits)
            let whole = Self.wholeWords(values, columns: columns, bits: bits)
            #expect(!PackedIntegers.isOfWholeWords(dense, rows: rows, columns: columns, bits: bits), "\(columns)")
            // The same bytes are both.
            #expect(
                PackedIntegers.isOfWholeWords(whole, rows: rows, columns: columns, bits: bits) == (whole != dense), "\(columns)"
            )
        }
    }
}
