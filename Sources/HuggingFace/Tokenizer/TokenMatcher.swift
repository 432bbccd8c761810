/// Finds added tokens in a text: from left to right, the longest at each place.
///
/// The time is in proportion to the text, whatever the tokens are: Aho and Corasick's automaton ("Efficient string matching: an
/// aid to bibliographic search", CACM 1975) of the tokens spelled backward runs from the end of the text to its beginning, a
/// block at a time. Of all tokens that begin where it stands, the deepest of its states is the longest.
struct TokenMatcher: Sendable {
    private let tokens: [AddedTokens.Token]
    private let automaton: ReversedAutomaton
    private static let leastBlock = 1 << 16

    /// - Parameter tokens: with what is looked for, none of it empty; of equal ones the first counts.
    init(_ tokens: [(content: [UInt8], token: AddedTokens.Token)]) {
        self.tokens = tokens.map(\.token)
        automaton = ReversedAutomaton(tokens.map(\.content))
    }

    /// A part of a text, cut at tokens. What is around it is not looked at.
    func parts(of text: [UInt8], in range: Range<Int>) -> [AddedTokens.Part] {
        guard !tokens.isEmpty, !range.isEmpty else { return range.isEmpty ? [] : [.text(range)] }
        var cut = Cut(text, range)
        // A block overlaps the next one by the longest token, so that each byte is read twice at most.
        let length = max(Self.leastBlock, automaton.longest)
        for start in stride(from: range.lowerBound, to: range.upperBound, by: length) {
            let block = start..<min(range.upperBound, start + length)
            for match in automaton.matches(in: text, beginningIn: block, limit: range.upperBound).reversed() {
                cut.take(tokens[match.pattern], at: match.start, length: automaton.lengths[match.pattern])
            }
        }
        return cut.finished
    }
}

/// A part of a text that is being cut at tokens, from left to right.
private struct Cut {
    private let text: [UInt8]
    private let range: Range<Int>
    private var parts: [AddedTokens.Part] = []
    /// The ends of what has been taken, with the white space of tokens and without it.
    private var done: Int, position: Int
    /// White space that a token has taken on its right.
    private var stripped: Range<Int>

    init(_ text: [UInt8], _ range: Range<Int>) {
        (self.text, self.range) = (text, range)
        (done, position) = (range.lowerBound, range.lowerBound)
        stripped = done..<done
    }

    /// Takes a token, unless another one has taken a part of it or its neighbors forbid it.
    mutating func take(_ token: AddedTokens.Token, at start: Int, length: Int) {
        guard start >= position else { return }
        let match = start..<start + length
        position = match.upperBound
        guard !token.singleWord || standsAlone(match) else { return }
        // As in Hugging Face's library, a token counts even if the token before it has taken white space at its beginning,
        // and the text behind it counts again. A token that strips white space on its left does not count if nothing of it
        // is left. (The library fails where the token before has taken all of this one.)
        let taken = extent(of: token, match)
        if token.stripsLeft, taken.upperBound <= done { return }
        if taken.lowerBound > done { parts.append(.text(done..<taken.lowerBound)) }
        parts.append(.token(token.id))
        done = taken.upperBound
    }

    var finished: [AddedTokens.Part] { done < range.upperBound ? parts + [.text(done..<range.upperBound)] : parts }

    private func standsAlone(_ match: Range<Int>) -> Bool {
        let touchesLeft =
            match.lowerBound > range.lowerBound && UTF8Text.scalar(in: text, before: match.lowerBound).scalar.isWord
        let touchesRight = match.upperBound < range.upperBound && UTF8Text.scalar(in: text, at: match.upperBound).scalar.isWord
        return !touchesLeft && !touchesRight
    }

    /// The match with the white space that belongs to it.
    private mutating func extent(of token: AddedTokens.Token, _ match: Range<Int>) -> Range<Int> {
        var start = match.lowerBound
        while token.stripsLeft, start > done {
            let (scalar, length) = UTF8Text.scalar(in: text, before: start)
            guard scalar.properties.isWhitespace else { break }
            start -= length
        }
        guard token.stripsRight else { return start..<match.upperBound }
        // Tokens of white space may follow each other: what one has run through the next need not.
        var end = stripped.contains(match.upperBound) ? stripped.upperBound : match.upperBound
        while end < range.upperBound {
            let (scalar, length) = UTF8Text.scalar(in: text, at: end)
            guard scalar.properties.isWhitespace else { break }
            end += length
        }
        stripped = match.upperBound..<end
        return start..<end
    }
}

/// Aho and Corasick's automaton of patterns that are read from their last byte to their first.
private struct ReversedAutomaton: Sendable {
    /// The length of each pattern, and the largest.
    let lengths: [Int]
    let longest: Int
    /// Nodes in the order of their depth, the children of one beside each other. The byte that leads to each:
    private var bytes: [UInt8] = [0]
    /// Each node's first child; the next node's is one behind its last.
    private var children: [Int32] = []
    /// The node of the longest proper suffix that is one.
    private var suffixes: [Int32] = [0]
    /// The longest pattern that is a suffix; −1 if there is none.
    private var patterns: [Int32] = [-1]
    /// The root's children.
    private var roots = [Int32](repeating: 0, count: 256)

    init(_ patterns: [[UInt8]]) {
        lengths = patterns.map(\.count)
        longest = lengths.max() ?? 0
        let reversed = patterns.map { Array($0.reversed()) }
        let order = reversed.indices.sorted { a, b in
            reversed[a].lexicographicallyPrecedes(reversed[b]) || reversed[a] == reversed[b] && a < b
        }
        /// The patterns, in that order, that a node begins, and its depth.
        var ranges = [(order.indices, depth: 0)]
        var node = 0
        while node < ranges.count {
            let (range, depth) = ranges[node]
            var first = range.lowerBound
            children.append(Int32(bytes.count))
            if first < range.upperBound, lengths[order[first]] == depth { self.patterns[node] = Int32(order[first]) }
            while first < range.upperBound, lengths[order[first]] == depth { first += 1 }
            if self.patterns[node] < 0, node > 0 { self.patterns[node] = self.patterns[Int(suffixes[node])] }
            while first < range.upperBound {
                let byte = reversed[order[first]][depth]
                let end = order[first..<range.upperBound].firstIndex { reversed[$0][depth] != byte } ?? range.upperBound
                // The suffix's children are there already: it is less deep.
                suffixes.append(node == 0 ? 0 : Int32(next(Int(suffixes[node]), byte)))
                if node == 0 { roots[Int(byte)] = Int32(bytes.count) }
                bytes.append(byte)
                self.patterns.append(-1)
                ranges.append((first..<end, depth + 1))
                first = end
            }
            node += 1
        }
        children.append(Int32(bytes.count))
    }

    /// The node that a byte leads to.
    @inline(__always)
    private func next(_ start: Int, _ byte: UInt8) -> Int {
        var node = start
        while node != 0 {
            var (low, high) = (Int(children[node]), Int(children[node + 1]))
            while low < high {
                let middle = (low + high) / 2
                if bytes[middle] < byte { low = middle + 1 } else { high = middle }
            }
            if low < Int(children[node + 1]), bytes[low] == byte { return low }
            node = Int(suffixes[node])
        }
        return Int(roots[Int(byte)])
    }

    /// The longest pattern at each place of `block` at which one begins, from right to left.
    func matches(in text: [UInt8], beginningIn block: Range<Int>, limit: Int) -> [(start: Int, pattern: Int)] {
        var matches: [(start: Int, pattern: Int)] = []
        var node = 0
        for position in (block.lowerBound..<min(limit, block.upperBound + longest - 1)).reversed() {
            node = node == 0 ? Int(roots[Int(text[position])]) : next(node, text[position])
            if patterns[node] >= 0, position < block.upperBound { matches.append((position, Int(patterns[node]))) }
        }
        return matches
    }
}
