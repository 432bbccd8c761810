internal import Collectives
internal import Generation
internal import TensorCore

/// The ranks of a group as stages of a network, in their order.
///
/// Sending waits for the receiver, so that at most one message per stage is in memory. While a prompt is read in pieces, each
/// stage works on a different piece.
struct RankStages<Ranks: Communicator>: StageLink {
    private let ranks: Ranks

    init(_ ranks: Ranks) { self.ranks = ranks }

    var isFirst: Bool { ranks.rank == 0 }
    var isLast: Bool { ranks.rank == ranks.size - 1 }

    func receive(_ shape: [Int]) throws -> Tensor { try ranks.receive(shape, from: ranks.rank - 1) }

    func send(_ hidden: Tensor) throws { try ranks.send(hidden, to: ranks.rank + 1) }

    func share(_ token: Int32?) throws -> Int32? {
        let shared = try ranks.broadcast(token.map(Int64.init) ?? Self.none, root: ranks.size - 1)
        return shared == Self.none ? nil : Int32(shared)
    }

    /// No token.
    private static var none: Int64 { -1 }

    func sum(_ value: Int) throws -> Int { Int(try ranks.allReduce(Int64(value), .sum)) }
}
