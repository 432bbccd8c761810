/// Why a document was refused, and the offset of the byte where it shows.
package struct JSONError: Error, Equatable {
    package let offset: Int
    package let problem: String
}

extension JSONValue {
    /// Parses a whole document, strictly as RFC 8259 has it, and more strictly where readers are known to disagree:
    /// a key that occurs twice in an object (escaped or not), a lone surrogate, a number outside double's range are errors.
    ///
    /// - Parameter depth: how many arrays and objects may be inside one another.
    package init(parsing bytes: [UInt8], depth: Int = 64) throws(JSONError) {
        var parser = JSONParser(bytes: bytes, depth: depth)
        self = try parser.document()
    }
}

/// Recursive descent over bytes; `depth` bounds the recursion.
struct JSONParser {
    private let bytes: [UInt8]
    private let depth: Int
    private var position = 0

    init(bytes: [UInt8], depth: Int) {
        self.bytes = bytes
        self.depth = depth
    }

    mutating func document() throws(JSONError) -> JSONValue {
        let value = try self.value(level: 0)
        skipWhitespace()
        guard position == bytes.count else { throw failure("there is more after the end of the document") }
        return value
    }

    private func failure(_ problem: String, at offset: Int? = nil) -> JSONError {
        JSONError(offset: offset ?? position, problem: problem)
    }

    private var current: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipWhitespace() {
        while let byte = current, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
    }

    private mutating func value(level: Int) throws(JSONError) -> JSONValue {
        skipWhitespace()
        guard let byte = current else { throw failure("the document ends early") }
        switch byte {
        case UInt8(ascii: "{"): return .object(try object(level: level + 1))
        case UInt8(ascii: "["): return .array(try array(level: level + 1))
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        default: return try number()
        }
    }

    private mutating func word(_ word: StaticString, _ value: JSONValue) throws(JSONError) -> JSONValue {
        for expected in word.description.utf8 {
            guard current == expected else { throw failure("expected '\(word)'") }
            position += 1
        }
        return value
    }

    private mutating func enter(_ level: Int) throws(JSONError) {
        guard level <= depth else { throw failure("nested deeper than \(depth)") }
        position += 1
        skipWhitespace()
    }

    private mutating func object(level: Int) throws(JSONError) -> JSONObject {
        try enter(level)
        var object = JSONObject()
        if take(UInt8(ascii: "}")) { return object }
        while true {
            skipWhitespace()
            let start = position
            guard current == UInt8(ascii: "\"") else { throw failure("expected a key in quotes") }
            let key = try string()
            skipWhitespace()
            guard take(UInt8(ascii: ":")) else { throw failure("expected ':' after a key") }
            let value = try self.value(level: level)
            guard object.insert(key, value) else { throw failure("key \"\(key)\" occurs twice", at: start) }
            skipWhitespace()
            if take(UInt8(ascii: ",")) { continue }
            guard take(UInt8(ascii: "}")) else { throw failure("expected ',' or '}'") }
            return object
        }
    }

    private mutating func array(level: Int) throws(JSONError) -> [JSONValue] {
        try enter(level)
        var elements: [JSONValue] = []
        if take(UInt8(ascii: "]")) { return elements }
        while true {
            elements.append(try value(level: level))
            skipWhitespace()
            if take(UInt8(ascii: ",")) { continue }
            guard take(UInt8(ascii: "]")) else { throw failure("expected ',' or ']'") }
            return elements
        }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard current == byte else { return false }
        position += 1
        return true
    }
}

// MARK: - Strings

extension JSONParser {
    /// Reads a string from its opening quote to its closing one.
    private mutating func string() throws(JSONError) -> String {
        position += 1
        let start = position
        skipPlainBytes()
        if current == UInt8(ascii: "\"") {
            let text = try text(bytes[start..<position], at: start)
            position += 1
            return text
        }
        var decoded = Array(bytes[start..<position])
        while let byte = current {
            if byte == UInt8(ascii: "\"") {
                position += 1
                return try text(decoded[...], at: start)
            }
            guard byte == UInt8(ascii: "\\") else { throw failure("control character in a string") }
            try escape(into: &decoded)
            let plain = position
            skipPlainBytes()
            decoded += bytes[plain..<position]
        }
        throw failure("the document ends inside a string")
    }

    /// Moves over everything that stands for itself.
    private mutating func skipPlainBytes() {
        while position < bytes.count {
            let byte = bytes[position]
            if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") || byte < 0x20 { return }
            position += 1
        }
    }

    private func text(_ utf8: ArraySlice<UInt8>, at start: Int) throws(JSONError) -> String {
        guard let text = String(validating: utf8, as: UTF8.self) else { throw failure("string is not UTF-8", at: start) }
        return text
    }

    private mutating func escape(into decoded: inout [UInt8]) throws(JSONError) {
        let start = position
        position += 1
        guard let byte = current else { throw failure("the document ends inside a string") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): decoded.append(byte)
        case UInt8(ascii: "b"): decoded.append(0x08)
        case UInt8(ascii: "f"): decoded.append(0x0C)
        case UInt8(ascii: "n"): decoded.append(0x0A)
        case UInt8(ascii: "r"): decoded.append(0x0D)
        case UInt8(ascii: "t"): decoded.append(0x09)
        case UInt8(ascii: "u"):
            var code = UInt32(try hexadecimal())
            if (0xD800..<0xDC00).contains(code), take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")) {
                let low = UInt32(try hexadecimal())
                guard (0xDC00..<0xE000).contains(low) else { throw failure("lone surrogate", at: start) }
                code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(code) else { throw failure("lone surrogate", at: start) }
            decoded += Array(String(Character(scalar)).utf8)
        default: throw failure("unknown escape in a string", at: start)
        }
    }

    private mutating func hexadecimal() throws(JSONError) -> UInt16 {
        var code: UInt16 = 0
        for _ in 0..<4 {
            guard let byte = current, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw failure("\\u needs four hexadecimal digits")
            }
            code = code << 4 | UInt16(digit)
            position += 1
        }
        return code
    }
}

// MARK: - Numbers

extension JSONParser {
    private mutating func number() throws(JSONError) -> JSONValue {
        let start = position
        _ = take(UInt8(ascii: "-"))
        if !take(UInt8(ascii: "0")) { try digits("expected a value") }
        let integerEnd = position
        if take(UInt8(ascii: ".")) { try digits("expected a digit after '.'") }
        if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
            if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
            try digits("expected a digit in the exponent")
        }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        if position == integerEnd, let value = Int(text) { return .integer(value) }
        guard let value = Double(text), value.isFinite else { throw failure("number out of range", at: start) }
        return .double(value)
    }

    private mutating func digits(_ problem: String) throws(JSONError) {
        let start = position
        while let byte = current, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { position += 1 }
        guard position > start else { throw failure(problem) }
    }
}
