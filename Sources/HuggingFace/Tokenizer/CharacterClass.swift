/// What the splitting patterns distinguish.
enum CharacterClass {
    /// `\p{L}`
    case letter
    /// `\p{N}`
    case number
    /// `[\r\n]`
    case newline
    /// The rest of `\s`.
    case space
    /// Everything else: `[^\s\p{L}\p{N}]`.
    case other
    /// Past the last character.
    case end

    /// The newest version of Unicode that Hugging Face's regular expressions know. Characters assigned later are `other`
    /// to them, so they are to us: otherwise ids would depend on the library Swift came with.
    private static let newestVersion = (major: 16, minor: 0)

    private static let ascii: [CharacterClass] = (0..<128).map { CharacterClass(category: Unicode.Scalar(UInt8($0))) }

    init(_ scalar: Unicode.Scalar) {
        self = scalar.isASCII ? Self.ascii[Int(scalar.value)] : CharacterClass(category: scalar)
    }

    private init(category scalar: Unicode.Scalar) {
        let properties = scalar.properties
        switch properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter:
            self = Self.isKnown(properties) ? .letter : .other
        case .decimalNumber, .letterNumber, .otherNumber:
            self = Self.isKnown(properties) ? .number : .other
        default:
            self = scalar == "\r" || scalar == "\n" ? .newline : properties.isWhitespace ? .space : .other
        }
    }

    private static func isKnown(_ properties: Unicode.Scalar.Properties) -> Bool {
        guard let age = properties.age else { return false }
        return (age.major, age.minor) <= (newestVersion.major, newestVersion.minor)
    }

    var isWhitespace: Bool { self == .newline || self == .space }
}

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
        let length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4
        var value = UInt32(lead) & (0x7F >> UInt32(length))
        for i in 1..<length { value = value << 6 | UInt32(text[position + i] & 0x3F) }
        return (Unicode.Scalar(value) ?? "\u{FFFD}", length)
    }

    /// The scalar that ends before `position`, and its length in bytes.
    static func scalar(in text: [UInt8], before position: Int) -> (scalar: Unicode.Scalar, length: Int) {
        var start = position - 1
        while text[start] & 0xC0 == 0x80 { start -= 1 }
        return scalar(in: text, at: start)
    }
}
