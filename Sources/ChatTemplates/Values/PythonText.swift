internal import Support

/// What Python does with text, on UTF-8 bytes. All costs are linear in the lengths.
enum PythonText {
    /// Bytes of the white space character at a place; nil where another stands there, or none.
    static func spaceLength(_ text: [UInt8], _ position: Int) -> Int? {
        guard position < text.count else { return nil }
        let length = scalarLength(text[position])
        guard position + length <= text.count else { return nil }
        return scalar(text, position, length).isPythonSpace ? length : nil
    }

    /// Bytes of the character that begins with this one.
    static func scalarLength(_ first: UInt8) -> Int { first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4 }

    private static func scalar(_ text: [UInt8], _ position: Int, _ length: Int) -> Unicode.Scalar {
        if length == 1 { return Unicode.Scalar(text[position]) }
        return String(decoding: text[position..<position + length], as: UTF8.self).unicodeScalars.first ?? "\u{FFFD}"
    }

    /// The characters, each as its bytes.
    static func characters(_ text: [UInt8]) -> [[UInt8]] {
        var (result, position) = ([[UInt8]](), 0)
        while position < text.count {
            let end = min(text.count, position + scalarLength(text[position]))
            result.append(Array(text[position..<end]))
            position = end
        }
        return result
    }

    static func characterCount(_ text: [UInt8]) -> Int { text.count { $0 & 0xC0 != 0x80 } }

    /// `str.strip`, `lstrip`, `rstrip`.
    ///
    /// - Parameter of: the characters to take away; nil for white space.
    static func trimmed(_ text: [UInt8], of characters: [UInt8]? = nil, left: Bool = true, right: Bool = true) -> [UInt8] {
        let set = characters.map { Set(PythonText.characters($0)) }
        func goes(_ begin: Int, _ end: Int) -> Bool {
            set.map { $0.contains(Array(text[begin..<end])) } ?? (spaceLength(text, begin) == end - begin)
        }
        var (begin, end) = (0, text.count)
        while left, begin < end {
            let next = min(end, begin + scalarLength(text[begin]))
            guard goes(begin, next) else { break }
            begin = next
        }
        while right, begin < end {
            var last = end - 1
            while last > begin, text[last] & 0xC0 == 0x80 { last -= 1 }
            guard goes(last, end) else { break }
            end = last
        }
        return Array(text[begin..<end])
    }

    /// Where `needle` stands in a text, from the left and without overlaps, `most` times at most (Knuth, Morris and Pratt).
    ///
    /// - Precondition: a needle of at least one byte.
    static func places(of needle: [UInt8], in text: [UInt8], most: Int = .max) -> [Int] {
        guard most > 0, needle.count <= text.count else { return [] }
        var borders = [Int](repeating: 0, count: needle.count)
        var length = 0
        for index in 1..<max(1, needle.count) {
            while length > 0, needle[index] != needle[length] { length = borders[length - 1] }
            if needle[index] == needle[length] { length += 1 }
            borders[index] = length
        }
        var (places, matched) = ([Int](), 0)
        for (index, byte) in text.enumerated() {
            while matched > 0, byte != needle[matched] { matched = borders[matched - 1] }
            if byte == needle[matched] { matched += 1 }
            guard matched == needle.count else { continue }
            places.append(index + 1 - matched)
            matched = 0
            if places.count == most { break }
        }
        return places
    }

    /// `str.split` with a separator.
    static func split(_ text: [UInt8], by separator: [UInt8], most: Int = .max) -> [[UInt8]] {
        var (parts, begin) = ([[UInt8]](), 0)
        for place in places(of: separator, in: text, most: most) {
            parts.append(Array(text[begin..<place]))
            begin = place + separator.count
        }
        return parts + [Array(text[begin...])]
    }

    /// `str.rsplit` with a separator.
    static func splitFromRight(_ text: [UInt8], by separator: [UInt8], most: Int) -> [[UInt8]] {
        split(text.reversed(), by: separator.reversed(), most: most).reversed().map { $0.reversed() }
    }

    /// `str.split` at white space.
    static func words(_ text: [UInt8]) -> [[UInt8]] {
        var (words, begin, position) = ([[UInt8]](), 0, 0)
        while position < text.count {
            if let length = spaceLength(text, position) {
                if begin < position { words.append(Array(text[begin..<position])) }
                position += length
                begin = position
            } else {
                position += scalarLength(text[position])
            }
        }
        if begin < text.count { words.append(Array(text[begin...])) }
        return words
    }

    /// `str.splitlines`.
    static func lines(_ text: [UInt8]) -> [[UInt8]] {
        var (lines, begin, position) = ([[UInt8]](), 0, 0)
        while position < text.count {
            let length = scalarLength(text[position])
            let value = scalar(text, position, min(length, text.count - position)).value
            guard [10, 11, 12, 13, 28, 29, 30, 0x85, 0x2028, 0x2029].contains(value) else {
                position += length
                continue
            }
            lines.append(Array(text[begin..<position]))
            position += length
            if value == 13, position < text.count, text[position] == 10 { position += 1 }
            begin = position
        }
        if begin < text.count { lines.append(Array(text[begin...])) }
        return lines
    }

    /// `str.replace`.
    static func replace(_ text: [UInt8], _ old: [UInt8], _ new: [UInt8], most: Int = .max) -> [UInt8] {
        Array(split(text, by: old, most: most).joined(separator: new))
    }

    static func upper(_ text: [UInt8]) -> [UInt8] { Array(String(decoding: text, as: UTF8.self).uppercased().utf8) }

    /// - Returns: nil where a capital sigma would need its neighbors.
    static func lower(_ text: [UInt8]) -> [UInt8]? {
        let string = String(decoding: text, as: UTF8.self)
        return string.unicodeScalars.contains("\u{3A3}") ? nil : Array(string.lowercased().utf8)
    }

    /// `str.capitalize`; nil as for ``lower(_:)``.
    static func capitalized(_ text: [UInt8]) -> [UInt8]? {
        guard let first = String(decoding: text, as: UTF8.self).unicodeScalars.first else { return text }
        let rest = Array(text[min(text.count, scalarLength(text[0]))...])
        return lower(rest).map { Array(first.properties.titlecaseMapping.utf8) + $0 }
    }

    /// `str.title` of ASCII; nil for other text.
    ///
    /// - Parameter isWordBreak: after which bytes a word begins.
    static func titled(_ text: [UInt8], isWordBreak: (UInt8) -> Bool) -> [UInt8]? {
        guard text.allSatisfy({ $0 < 0x80 }) else { return nil }
        var isFirst = true
        return text.map { byte in
            defer { isFirst = isWordBreak(byte) }
            let isLetter = (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
            return isLetter ? (isFirst ? byte & 0xDF : byte | 0x20) : byte
        }
    }

    /// A negative or too large place or bound of a slice of `count` things, as Python takes it.
    static func indices(_ count: Int, _ start: Int?, _ end: Int?, step: Int) -> [Int] {
        func bound(_ value: Int, _ low: Int, _ high: Int) -> Int {
            value < 0 ? max(low, value < -count ? low : value + count) : min(value, high)
        }
        let step = max(-count - 1, min(step, count + 1))
        if step > 0 {
            let (first, last) = (start.map { bound($0, 0, count) } ?? 0, end.map { bound($0, 0, count) } ?? count)
            return first < last ? Array(stride(from: first, to: last, by: step)) : []
        }
        let first = start.map { bound($0, -1, count - 1) } ?? count - 1
        let last = end.map { bound($0, -1, count - 1) } ?? -1
        return first > last ? Array(stride(from: first, to: last, by: step)) : []
    }
}
