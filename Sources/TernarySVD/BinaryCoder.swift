/// An estimate of the probability that a bit is 1, from the previous bits of its kind.
///
/// Counts are in steps of ``unit``, so that fractions of a bit of experience can be passed on. Integers only, so that it is the
/// same on every machine.
struct AdaptiveBit {
    private static let unit: UInt32 = 32
    /// Counts above this are halved.
    private static let limit: UInt32 = 1 << 26
    /// Limits of the chance, of 65,536, so that each bit costs at least a thousandth of a bit.
    private static let (least, most): (UInt32, UInt32) = (48, 65_536 - 48)

    private var zeros: UInt32
    private var ones: UInt32

    /// - Parameters:
    ///   - chance: of 65,536, that a bit is 1.
    ///   - bits: the number of bits of experience that the chance counts as.
    init(chance: UInt32 = 1 << 15, bits: UInt32 = 1) {
        let all = bits * Self.unit
        ones = min(max(UInt32((UInt64(all) * UInt64(chance)) >> 16), 1), all - 1)
        zeros = all - ones
    }

    /// The probability of a one, times 65,536.
    @inline(__always) var chance: UInt32 {
        min(max(UInt32((UInt64(ones) << 16) / UInt64(zeros + ones)), Self.least), Self.most)
    }

    @inline(__always) mutating func note(_ bit: Bool) {
        if bit { ones += Self.unit } else { zeros += Self.unit }
        guard zeros + ones > Self.limit else { return }
        (zeros, ones) = ((zeros + 1) / 2, (ones + 1) / 2)
    }
}

/// Bits as an arithmetic code (a carryless range coder of 32 bits), or back. A coder of either direction goes through the same
/// calls, so that one description of a format serves both.
protocol BinaryCoder {
    /// Codes a bit that is 1 with probability `chance`/65,536. A decoder ignores the given bit and returns the decoded one.
    mutating func code(_ bit: Bool, chance: UInt32) -> Bool
}

extension BinaryCoder {
    @inline(__always) mutating func code(_ bit: Bool, _ model: inout AdaptiveBit) -> Bool {
        let result = code(bit, chance: model.chance)
        model.note(result)
        return result
    }

    /// A bit with probability ½.
    @inline(__always) mutating func code(_ bit: Bool) -> Bool { code(bit, chance: 1 << 15) }
}

struct BinaryEncoder: BinaryCoder {
    private var bytes: [UInt8] = []
    private var (low, high): (UInt32, UInt32) = (0, .max)

    @inline(__always) mutating func code(_ bit: Bool, chance: UInt32) -> Bool {
        let middle = low + UInt32((UInt64(high - low) * UInt64(chance)) >> 16)
        if bit { high = middle } else { low = middle + 1 }
        while (low ^ high) >> 24 == 0 {
            bytes.append(UInt8(high >> 24))
            (low, high) = (low << 8, high << 8 | 255)
        }
        return bit
    }

    /// The complete code. Nothing may be coded afterwards.
    mutating func finish() -> [UInt8] {
        bytes.append(contentsOf: (0..<4).map { UInt8(truncatingIfNeeded: low >> (24 - 8 * UInt32($0))) })
        return bytes
    }
}

struct BinaryDecoder: BinaryCoder {
    private let bytes: [UInt8]
    private var position = 0
    private var (low, high, value): (UInt32, UInt32, UInt32) = (0, .max, 0)

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
        for _ in 0..<4 { take() }
    }

    /// Whether the code ends exactly at the end of its bytes.
    var isAtEnd: Bool { position == bytes.count }

    @inline(__always) mutating func code(_ bit: Bool, chance: UInt32) -> Bool {
        let middle = low + UInt32((UInt64(high - low) * UInt64(chance)) >> 16)
        let bit = value <= middle
        if bit { high = middle } else { low = middle + 1 }
        while (low ^ high) >> 24 == 0 {
            (low, high) = (low << 8, high << 8 | 255)
            take()
        }
        return bit
    }

    @inline(__always) private mutating func take() {
        value = value << 8 | (position < bytes.count ? UInt32(bytes[position]) : 0)
        position += 1
    }
}
