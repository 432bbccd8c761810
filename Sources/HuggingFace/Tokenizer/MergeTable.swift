import HeapModule
internal import Support

/// The pairs of tokens that may be merged, in the order of their precedence.
struct MergeTable: Sendable {
    struct Pair: Hashable, Sendable {
        let left: Int32
        let right: Int32
    }

    private var ranks: [Pair: UInt32] = [:]
    /// By rank, the token a pair becomes.
    private var results: [Int32] = []

    var pairs: some Collection<Pair> { ranks.keys }

    /// Reads `merges`: strings `"a b"`, or, in newer files, lists `["a", "b"]`.
    init(_ section: TokenizerSection, vocabulary: Vocabulary) throws(TokenizerError) {
        guard let list = section["merges"]?.array else { throw section.failure("merges", "is not a list") }
        guard list.count < UInt32.max else { throw section.failure("merges", "has \(list.count) elements") }
        ranks.reserveCapacity(list.count)
        results.reserveCapacity(list.count)
        for (rank, element) in list.enumerated() {
            guard let (left, right) = Self.parts(of: element) else {
                throw section.failure("merges[\(rank)]", "is neither two tokens with a space between nor a list of two tokens")
            }
            func id(_ token: String) throws(TokenizerError) -> Int32 {
                guard let id = vocabulary[token] else {
                    throw section.failure("merges[\(rank)]", "\"\(token)\" is not in the vocabulary")
                }
                return id
            }
            // Of a pair listed twice the later rank counts, as in Hugging Face's library.
            ranks[Pair(left: try id(left), right: try id(right))] = UInt32(rank)
            results.append(try id(left + right))
        }
    }

    private static func parts(of element: JSONValue) -> (String, String)? {
        if let list = element.array {
            guard list.count == 2, let left = list[0].string, let right = list[1].string else { return nil }
            return (left, right)
        }
        guard let text = element.string?.unicodeScalars, let space = text.firstIndex(of: " ") else { return nil }
        let right = text[text.index(after: space)...]
        return right.contains(" ") ? nil : (String(text[..<space]), String(right))
    }

    /// Merges symbols until no pair is in the table: always the pair of the lowest rank, of equal ones the leftmost.
    ///
    /// A heap of candidate pairs and a linked list of symbols: O(n log n). A candidate whose symbols have changed since is
    /// dropped when its turn comes, unless what stands there now merges to the same token.
    func merged(_ symbols: [Int32]) -> [Int32] {
        guard symbols.count > 1 else { return symbols }
        precondition(symbols.count < Int32.max, "\(symbols.count) symbols in one piece")
        var list = SymbolList(symbols)
        /// Rank in the upper half, position in the lower: integers in the order in which pairs are merged.
        func candidate(at position: Int, in list: SymbolList) -> UInt64? {
            guard let pair = list.pair(at: position), let rank = ranks[pair] else { return nil }
            return UInt64(rank) << 32 | UInt64(position)
        }
        var queue = Heap(symbols.indices.compactMap { candidate(at: $0, in: list) })
        while let next = queue.popMin() {
            let position = Int(next & 0xFFFF_FFFF)
            let result = results[Int(next >> 32)]
            guard let pair = list.pair(at: position), let rank = ranks[pair], results[Int(rank)] == result else { continue }
            let previous = list.merge(at: position, into: result)
            if let previous, let pair = candidate(at: previous, in: list) { queue.insert(pair) }
            if let pair = candidate(at: position, in: list) { queue.insert(pair) }
        }
        return list.remaining
    }
}

/// Symbols in a doubly linked list over an array; a symbol keeps its position for life.
private struct SymbolList {
    /// −1 where a symbol has been merged into the one before it.
    private var ids: [Int32]
    private var next: [Int32]
    private var previous: [Int32]

    init(_ symbols: [Int32]) {
        ids = symbols
        next = symbols.indices.map { Int32($0 + 1) }
        previous = symbols.indices.map { Int32($0 - 1) }
    }

    /// The symbol at `position` with the one that follows; nil if either is missing.
    func pair(at position: Int) -> MergeTable.Pair? {
        let right = Int(next[position])
        guard ids[position] >= 0, right < ids.count else { return nil }
        return MergeTable.Pair(left: ids[position], right: ids[right])
    }

    /// Merges the pair at `position`; returns the position before it.
    mutating func merge(at position: Int, into result: Int32) -> Int? {
        let right = Int(next[position])
        ids[position] = result
        ids[right] = -1
        next[position] = next[right]
        if Int(next[right]) < ids.count { previous[Int(next[right])] = Int32(position) }
        return previous[position] < 0 ? nil : Int(previous[position])
    }

    var remaining: [Int32] { ids.filter { $0 >= 0 } }
}
