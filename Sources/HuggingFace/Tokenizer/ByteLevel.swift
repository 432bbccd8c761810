/// The alphabet of byte-level BPE (GPT-2): each of the 256 bytes is written as one printable character.
///
/// Printable Latin-1 characters stand for themselves; the other 68 bytes, in order, are U+0100, U+0101, …
enum ByteLevel {
    /// The scalar that stands for each byte.
    static let scalarOfByte: [UInt32] = {
        var next: UInt32 = 0x100
        return (0..<256 as Range<UInt32>).map { byte in
            if isPrintable(byte) { return byte }
            defer { next += 1 }
            return next
        }
    }()

    /// The byte each scalar stands for; absent for scalars outside the alphabet.
    static let byteOfScalar: [UInt32: UInt8] = Dictionary(
        uniqueKeysWithValues: scalarOfByte.enumerated().map { ($0.element, UInt8($0.offset)) })

    private static func isPrintable(_ byte: UInt32) -> Bool {
        (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || (0xAE...0xFF).contains(byte)
    }

    /// Bytes, written in the alphabet.
    static func text(of bytes: ArraySlice<UInt8>) -> String {
        var text = String.UnicodeScalarView()
        for byte in bytes {
            if let scalar = Unicode.Scalar(scalarOfByte[Int(byte)]) { text.append(scalar) }
        }
        return String(text)
    }

    /// The bytes a token stands for; a token with a character outside the alphabet stands for its own UTF-8.
    static func bytes(of token: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        for scalar in String(decoding: token, as: UTF8.self).unicodeScalars {
            guard let byte = byteOfScalar[scalar.value] else { return token }
            bytes.append(byte)
        }
        return bytes
    }
}
