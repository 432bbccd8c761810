internal import HeapModule

/// Which rank decomposes which layer.
package enum GreedyDispatch {
    /// Deals layers, in order, each to the rank with the least total so far, the lowest rank winning ties.
    ///
    /// - Parameters:
    ///   - sizes: weights per layer.
    ///   - ranks: number of ranks, at least 1.
    /// - Returns: the owner of each layer. O(layers·log ranks).
    package static func owners(sizes: [Int], ranks: Int) -> [Int] {
        precondition(ranks >= 1, "no rank to deal layers to")
        var heap = Heap((0..<ranks).map { Load(total: 0, rank: $0) })
        return sizes.map { size in
            guard let least = heap.popMin() else { return 0 }
            heap.insert(Load(total: least.total + size, rank: least.rank))
            return least.rank
        }
    }

    private struct Load: Comparable {
        let total: Int, rank: Int
        static func < (a: Load, b: Load) -> Bool { (a.total, a.rank) < (b.total, b.rank) }
    }
}
