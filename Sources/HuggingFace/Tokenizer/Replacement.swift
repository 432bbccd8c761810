internal import Support

/// A text replaced wherever it is found, from the left; what has been put in is not looked at again.
///
/// The text comes in parts, so that replacements in a row need no copy of it each. Knuth, Morris and Pratt's automaton ("Fast
/// pattern matching in strings", SIAM J. Comput. 1977) takes time in proportion to the text, whatever the pattern is.
struct Replacement: Sendable {
    let pattern: [UInt8]
    let content: [UInt8]
    /// For each length of a beginning of the pattern, that of the longest shorter one that it ends in.
    private let borders: [Int]

    /// - Precondition: `pattern` is not empty.
    init(_ pattern: [UInt8], with content: [UInt8]) {
        precondition(!pattern.isEmpty, "an empty pattern occurs everywhere")
        (self.pattern, self.content) = (pattern, content)
        var borders = [0, 0]
        for byte in pattern.dropFirst() {
            var length = borders[borders.count - 1]
            while length > 0, pattern[length] != byte { length = borders[length] }
            borders.append(pattern[length] == byte ? length + 1 : 0)
        }
        self.borders = borders
    }

    /// `Replace` in a tokenizer.json. Regular expressions are refused, since any could be given.
    init(_ section: TokenizerSection) throws(TokenizerError) {
        guard let pattern = try section.section("pattern"), let text = pattern["String"]?.string else {
            throw section.failure("pattern", "is not {\"String\": …}, the only kind supported here")
        }
        guard !text.isEmpty else { throw section.failure("pattern", "is empty") }
        self.init(Array(text.utf8), with: Array(try section.string("content").utf8))
    }

    /// Appends what becomes of the next part of a text.
    ///
    /// - Parameter matched: how much of the pattern the parts so far end in; it is held back.
    func append(_ part: ArraySlice<UInt8>, to result: inout [UInt8], matched: inout Int) {
        var position = part.startIndex
        while position < part.endIndex {
            if matched == 0 {
                let found = part[position...].firstIndex(of: pattern[0]) ?? part.endIndex
                result += part[position..<found]
                position = found
                guard position < part.endIndex else { return }
            }
            while matched > 0, pattern[matched] != part[position] {
                let shorter = borders[matched]
                result += pattern[..<(matched - shorter)]
                matched = shorter
            }
            if pattern[matched] == part[position] { matched += 1 } else { result.append(part[position]) }
            position += 1
            guard matched == pattern.count else { continue }
            result += content
            matched = 0
        }
    }

    /// A whole text with the replacements.
    func apply(to text: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        var matched = 0
        result.reserveCapacity(text.count)
        append(text[...], to: &result, matched: &matched)
        return result + pattern[..<matched]
    }

    /// How many bytes one byte of a text can become at most, if replacements follow each other: no less than any does.
    ///
    /// From the last replacement back, each byte has a weight, what it can become. A pattern that weighs less than its
    /// content owes the difference, which its last byte takes over.
    static func growth(of steps: [Replacement]) -> Double {
        var weights = [Double](repeating: 1, count: 256)
        for step in steps.reversed() {
            func weight(_ text: [UInt8]) -> Double { text.reduce(0) { $0 + weights[Int($1)] } }
            guard let last = step.pattern.last else { continue }
            weights[Int(last)] += max(0, weight(step.content) - weight(step.pattern))
        }
        return weights.max() ?? 1
    }
}
