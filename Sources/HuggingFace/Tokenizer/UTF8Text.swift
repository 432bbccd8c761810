extension Unicode.Scalar {
    /// `\w` as UTS #18 defines it.
    var isWord: Bool {
        if properties.isAlphabetic || properties.isJoinControl { return true }
        return switch properties.generalCategory {
        case .decimalNumber, .connectorPunctuation, .nonspacingMark, .spacingMark, .enclosingMark: true
        default: false
        }
    }
}

/// Valid UTF-8 read scalar by scalar.
enum UTF8Text {
    /// The scalar that begins at `position`, and its length in bytes.
    ///
    /// - Precondition: `position` is a character's first byte in valid UTF-8.
    @inline(__always)
    static func scalar(in text: [UInt8], at position: Int) -> (scalar: Unicode.Scalar, length: Int) {
        let lead = text[position]
        if lead < 0x80 { return (Unicode.Scalar(lead), 1) }
        let length = length(of: lead)
        var value = UInt32(lead) & (0x7F >> UInt32(length))
        for i in 1..<length { value = value << 6 | UInt32(text[position + i] & 0x3F) }
        return (Unicode.Scalar(value) ?? "\u{FFFD}", length)
    }

    /// The scalar that ends before `position`, and its length in bytes.
    static func scalar(in text: [UInt8], before position: Int) -> (scalar: Unicode.Scalar, length: Int) {
        scalar(in: text, at: start(in: text, before: position))
    }

    /// Where the character that ends before `position` begins.
    @inline(__always)
    static func start(in text: [UInt8], before position: Int) -> Int {
        var start = position - 1
        while text[start] & 0xC0 == 0x80 { start -= 1 }
        return start
    }

    /// The length in bytes of a character, by its first byte.
    @inline(__always)
    static func length(of lead: UInt8) -> Int { lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4 }
}
