/// Which part of a decoder's layer a block is, where each layer is two: attention, then the feed-forward network. A pipeline of
/// few layers balances better for it.
enum DecoderBlock: Sendable {
    case attention, feedForward

    /// - Parameter index: the block's place in the model.
    init(_ index: Int) { self = index.isMultiple(of: 2) ? .attention : .feedForward }

    static func layer(of index: Int) -> Int { index / 2 }
}
