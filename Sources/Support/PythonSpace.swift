extension Unicode.Scalar {
    /// Whether Python counts it as white space (`str.isspace`, `str.strip`, `\s`): Unicode's white space and the four
    /// separators of ASCII.
    package var isPythonSpace: Bool {
        switch value {
        case 9...13, 28...32, 0x85, 0xA0, 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000: true
        default: false
        }
    }
}
