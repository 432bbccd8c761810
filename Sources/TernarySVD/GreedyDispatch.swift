internal import HeapModule

/// Which rank decomposes which layer.
package enum GreedyDispatch {
    /// Assigns layers in order, each to the rank with the smallest total so far, the lowest rank winning ties.
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

    /// The same for layers that are still to be decomposed: the largest first, and equally large ones kind by kind. Layers of
    /// one kind take about as many components in every block; another kind of the same size may take a sixth of them.
    ///
    /// - Parameter layers: names and numbers of weights. Layers whose names differ only in numbers are of one kind.
    package static func owners(layers: [(name: String, size: Int)], ranks: Int) -> [Int] {
        let kinds = layers.map { $0.name.split(separator: ".").filter { Int($0) == nil }.joined(separator: ".") }
        let order = layers.indices.sorted { (layers[$1].size, kinds[$0], $0) < (layers[$0].size, kinds[$1], $1) }
        var result = layers.map { _ in 0 }
        for (layer, owner) in zip(order, owners(sizes: order.map { layers[$0].size }, ranks: ranks)) { result[layer] = owner }
        return result
    }

    private struct Load: Comparable {
        let total: Int, rank: Int
        static func < (a: Load, b: Load) -> Bool { (a.total, a.rank) < (b.total, b.rank) }
    }
}
