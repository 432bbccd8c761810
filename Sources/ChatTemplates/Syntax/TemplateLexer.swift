internal import Support

/// Cuts a template into tokens as Jinja 3.1 does with `trim_blocks` and `lstrip_blocks`, which transformers sets: the first
/// newline after a tag is removed, and so is the white space between the beginning of a line and a tag.
struct TemplateLexer {
    private let source: [UInt8]
    private var position = 0
    private var line = 1
    /// Whether what was read last ends with a newline.
    private var isAtLineStart = true
    private var tokens: [TemplateToken] = []

    /// - Throws: ``TemplateFault`` for a tag or a string without an end, and for what is no token.
    static func tokens(of template: String) throws(TemplateFault) -> [TemplateToken] {
        var lexer = TemplateLexer(template)
        try lexer.run()
        return lexer.tokens
    }

    private init(_ template: String) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(template.utf8.count)
        var isAfterReturn = false
        // Line ends of all systems are newlines.
        for byte in template.utf8 {
            if byte == UInt8(ascii: "\r") {
                bytes.append(UInt8(ascii: "\n"))
            } else if byte != UInt8(ascii: "\n") || !isAfterReturn {
                bytes.append(byte)
            }
            isAfterReturn = byte == UInt8(ascii: "\r")
        }
        // The last one is no part of the template.
        if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
        source = bytes
    }

    private func byte(_ offset: Int = 0) -> UInt8? {
        position + offset < source.count ? source[position + offset] : nil
    }

    private func isNext(_ text: StaticString) -> Bool {
        guard position + text.utf8CodeUnitCount <= source.count else { return false }
        return text.withUTF8Buffer { $0.elementsEqual(source[position..<position + $0.count]) }
    }

    private mutating func append(_ kind: TemplateToken.Kind) { tokens.append(TemplateToken(kind: kind, line: line)) }

    private mutating func advance(_ count: Int) {
        for _ in 0..<count {
            if source[position] == UInt8(ascii: "\n") { line += 1 }
            position += 1
        }
    }

    private mutating func run() throws(TemplateFault) {
        while position < source.count {
            let begin = position
            while position < source.count, !isNext("{%"), !isNext("{{"), !isNext("{#") { advance(1) }
            let isTag = !isNext("{{")
            let sign = byte(2).flatMap { "+-".utf8.contains($0) ? $0 : nil }
            let text = position < source.count ? stripped(begin..<position, isTag: isTag, sign: sign) : begin..<position
            if !text.isEmpty { append(.text(Array(source[text]))) }
            guard position < source.count else { break }
            if isNext("{#") {
                try skipComment()
                continue
            }
            append(isTag ? .tagBegin : .outputBegin)
            advance(2 + (sign == nil ? 0 : 1))
            try readTag(isTag: isTag)
        }
        append(.end)
    }

    /// The text before a tag without the white space that the tag takes away.
    private func stripped(_ range: Range<Int>, isTag: Bool, sign: UInt8?) -> Range<Int> {
        if sign == UInt8(ascii: "-") {
            return range.lowerBound..<range.lowerBound + PythonText.trimmed(Array(source[range]), left: false).count
        }
        guard sign == nil, isTag else { return range }
        let newline = source[range].lastIndex(of: UInt8(ascii: "\n"))
        guard newline != nil || isAtLineStart else { return range }
        let begin = newline.map { $0 + 1 } ?? range.lowerBound
        return PythonText.trimmed(Array(source[begin..<range.upperBound])).isEmpty ? range.lowerBound..<begin : range
    }

    /// Skips the end of a tag of `length` bytes, and of the white space after it as much as the sign asks for.
    private mutating func endTag(_ length: Int, sign: UInt8?, trims: Bool) {
        advance(length)
        if sign == UInt8(ascii: "-") {
            while let space = PythonText.spaceLength(source, position) { advance(space) }
        } else if sign == nil, trims, byte() == UInt8(ascii: "\n") {
            advance(1)
        }
        isAtLineStart = source[position - 1] == UInt8(ascii: "\n")
    }

    private mutating func skipComment() throws(TemplateFault) {
        let begin = line
        advance(2)
        if let next = byte(), "+-".utf8.contains(next) { advance(1) }
        let content = position
        while position < source.count, !isNext("#}") { advance(1) }
        guard position < source.count else { throw TemplateFault(begin, "the comment {# has no end #}") }
        // The sign is the last byte of the comment.
        let sign = position > content ? source[position - 1] : 0
        endTag(2, sign: "+-".utf8.contains(sign) ? sign : nil, trims: true)
    }

    private mutating func readTag(isTag: Bool) throws(TemplateFault) {
        let begin = line
        var open: [UInt8] = []
        while true {
            guard let next = byte() else {
                throw TemplateFault(begin, "the tag \(isTag ? "{%" : "{{") has no end \(isTag ? "%}" : "}}")")
            }
            if open.isEmpty, takeEnd(isTag: isTag) { return }
            if let space = PythonText.spaceLength(source, position) {
                advance(space)
            } else if isDigit(next) {
                try readNumber()
            } else if isLetter(next) {
                let start = position
                while let byte = byte(), isLetter(byte) || isDigit(byte) { position += 1 }
                append(.name(String(decoding: source[start..<position], as: UTF8.self)))
            } else if next == UInt8(ascii: "'") || next == UInt8(ascii: "\"") {
                let (text, length) = try TemplateString.read(source, position, line)
                append(.string(text))
                advance(length)
            } else {
                try readSymbol(&open)
            }
        }
    }

    private mutating func takeEnd(isTag: Bool) -> Bool {
        let isSigned = byte() == UInt8(ascii: "-") || (isTag && byte() == UInt8(ascii: "+"))
        let sign = isSigned ? byte() : nil
        let end: [UInt8] = isTag ? Array("%}".utf8) : Array("}}".utf8)
        let offset = isSigned ? 1 : 0
        guard byte(offset) == end[0], byte(offset + 1) == end[1] else { return false }
        append(isTag ? .tagEnd : .outputEnd)
        endTag(2 + offset, sign: sign, trims: isTag)
        return true
    }

    private func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

    private func isLetter(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: "_") || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
    }

    private mutating func readNumber() throws(TemplateFault) {
        let start = position
        func digits(_ lexer: inout TemplateLexer) { while let byte = lexer.byte(), lexer.isDigit(byte) { lexer.position += 1 } }
        digits(&self)
        // A number after a dot is a place in a list.
        let isPlace = tokens.last?.kind == .symbol(".")
        var isFloat = false
        if !isPlace, byte() == UInt8(ascii: "."), let next = byte(1), isDigit(next) {
            isFloat = true
            position += 1
            digits(&self)
        }
        if let next = byte(), isLetter(next) {
            throw TemplateFault(line, "numbers with letters or _ in them are not supported")
        }
        let text = String(decoding: source[start..<position], as: UTF8.self)
        if isFloat, let value = Double(text) {
            append(.float(value))
        } else if let value = Int(text), text.utf8.count == 1 || text.utf8.first != UInt8(ascii: "0") {
            append(.integer(value))
        } else {
            throw TemplateFault(line, "\(text.prefix(40)) is not a number of 64 bits")
        }
    }

    private static let symbols = [
        "//", "**", "==", "!=", "<=", ">=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", "<", ">", "=", ".", ":",
        "|", ",",
    ].map { Array($0.utf8) }

    private mutating func readSymbol(_ open: inout [UInt8]) throws(TemplateFault) {
        guard let symbol = Self.symbols.first(where: { source[position...].starts(with: $0) }) else {
            let rest = String(decoding: source[position...].prefix(8), as: UTF8.self)
            throw TemplateFault(line, "'\(rest.first.map(String.init) ?? "")' has no meaning in a tag")
        }
        let pairs: [UInt8: UInt8] = [
            UInt8(ascii: ")"): UInt8(ascii: "("), UInt8(ascii: "]"): UInt8(ascii: "["),
            UInt8(ascii: "}"): UInt8(ascii: "{"),
        ]
        if pairs.values.contains(symbol[0]) {
            open.append(symbol[0])
        } else if let opening = pairs[symbol[0]] {
            guard open.popLast() == opening else {
                throw TemplateFault(line, "\(String(decoding: symbol, as: UTF8.self)) closes nothing")
            }
        }
        append(.symbol(String(decoding: symbol, as: UTF8.self)))
        position += symbol.count
    }
}
