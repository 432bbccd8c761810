/// Blocks as the layers that users and files count.
extension Architecture {
    /// Layers of the model, each of one block or several.
    package var layerCount: Int { (blocks.last?.layer ?? -1) + 1 }

    /// The blocks of each layer of which some are among these, in order.
    package func layers(in stage: Range<Int>) -> [Range<Int>] {
        var result: [Range<Int>] = []
        for block in stage {
            if let last = result.last, blocks[last.lowerBound].layer == blocks[block].layer {
                result[result.count - 1] = last.lowerBound..<block + 1
            } else {
                result.append(block..<block + 1)
            }
        }
        return result
    }

    /// How many layers these blocks are: 2.5, where one of a layer's two blocks is another stage's.
    package func layerCount(of stage: Range<Int>) -> Double {
        let whole = Dictionary(grouping: blocks, by: \.layer).mapValues(\.count)
        return stage.reduce(0) { $0 + 1 / Double(whole[blocks[$1].layer] ?? 1) }
    }

    /// A stage's layers for the user, such as `layers 0–2, attention of 3`.
    package func summary(of stage: Range<Int>) -> String {
        let layers = layers(in: stage)
        let isWhole = layers.map { layerCount(of: $0) == 1 }
        let whole = zip(layers, isWhole).filter(\.1).map { blocks[$0.0.lowerBound].layer }
        let parts = zip(layers, isWhole).map { range, isWhole -> String? in
            let (block, layer) = (blocks[range.lowerBound], blocks[range.lowerBound].layer)
            guard isWhole else { return (block.heads == nil ? "feed-forward of " : "attention of ") + "\(layer)" }
            guard layer == whole.first, let last = whole.last else { return nil }
            return layer == last ? "layer \(layer)" : "layers \(layer)–\(last)"
        }
        return parts.compactMap(\.self).joined(separator: ", ")
    }
}
