/// A string as it stands in a tag, with Python's escapes.
enum TemplateString {
    private static let simple: [UInt8: UInt8] = [
        UInt8(ascii: "n"): 10, UInt8(ascii: "t"): 9, UInt8(ascii: "r"): 13, UInt8(ascii: "a"): 7, UInt8(ascii: "b"): 8,
        UInt8(ascii: "f"): 12, UInt8(ascii: "v"): 11, UInt8(ascii: "\\"): 92, UInt8(ascii: "'"): 39, UInt8(ascii: "\""): 34,
    ]

    /// Reads the string that begins at `start`.
    ///
    /// - Returns: its text, and the bytes that it takes with its quotes.
    /// - Throws: ``TemplateFault`` where it has no end, or an escape is not known.
    static func read(_ source: [UInt8], _ start: Int, _ line: Int) throws(TemplateFault) -> (text: [UInt8], length: Int) {
        let quote = source[start]
        var (text, position) = ([UInt8](), start + 1)
        while position < source.count, source[position] != quote {
            guard source[position] == UInt8(ascii: "\\") else {
                text.append(source[position])
                position += 1
                continue
            }
            guard position + 1 < source.count else { break }
            let escape = source[position + 1]
            position += 2
            if let byte = simple[escape] {
                text.append(byte)
            } else if let digits = [UInt8(ascii: "x"): 2, UInt8(ascii: "u"): 4, UInt8(ascii: "U"): 8][escape] {
                guard position + digits <= source.count,
                    source[position] != UInt8(ascii: "+"), source[position] != UInt8(ascii: "-"),
                    let value = UInt32(String(decoding: source[position..<position + digits], as: UTF8.self), radix: 16),
                    let scalar = Unicode.Scalar(value)
                else {
                    throw TemplateFault(
                        line, "the escape \\\(Character(Unicode.Scalar(escape))) is incomplete or not a character")
                }
                text += Array(String(Character(scalar)).utf8)
                position += digits
            } else if escape == UInt8(ascii: "\n") {
                continue
            } else if escape == UInt8(ascii: "N") || (UInt8(ascii: "0")...UInt8(ascii: "7")).contains(escape) {
                throw TemplateFault(
                    line, "the escape \\\(Character(Unicode.Scalar(escape))) is not supported; write \\u and four digits")
            } else {
                // Python leaves an escape that it does not know.
                text += [UInt8(ascii: "\\"), escape]
            }
        }
        guard position < source.count else { throw TemplateFault(line, "a string has no end") }
        return (text, position + 1 - start)
    }
}
