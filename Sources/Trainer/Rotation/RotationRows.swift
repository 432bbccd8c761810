internal import Rotation

/// The rows of square matrices divided among ranks, in order, so that each rank has about equally many products: a row of a
/// matrix of order n takes n².
///
/// They are divided in chunks of ``CayleyStep/chunk`` rows.
struct RotationRows {
    struct Piece: Equatable {
        let rotation: Int
        var rows: Range<Int>
    }

    private let orders: [Int]
    private let perRank: [[Piece]]

    init(orders: [Int], ranks: Int) {
        self.orders = orders
        func cost(_ rows: Int, _ order: Int) -> Double { Double(rows) * Double(order) * Double(order) }
        let total = orders.reduce(0) { $0 + cost($1, $1) }
        var (perRank, done) = ([[Piece]](repeating: [], count: ranks), 0.0)
        for (rotation, order) in orders.enumerated() {
            for first in stride(from: 0, to: order, by: CayleyStep.chunk) {
                let rows = first..<min(first + CayleyStep.chunk, order)
                let middle = done + cost(rows.count, order) / 2
                done += cost(rows.count, order)
                let rank = min(ranks - 1, Int(middle / total * Double(ranks)))
                if let last = perRank[rank].last, last.rotation == rotation {
                    perRank[rank][perRank[rank].count - 1].rows = last.rows.lowerBound..<rows.upperBound
                } else {
                    perRank[rank].append(Piece(rotation: rotation, rows: rows))
                }
            }
        }
        self.perRank = perRank
    }

    /// A rank's pieces, in the order of the matrices and their rows, which is also the order of the ranks.
    func pieces(of rank: Int) -> [Piece] { perRank[rank] }

    /// Number of values in a rank's rows.
    func count(of rank: Int) -> Int { perRank[rank].reduce(0) { $0 + $1.rows.count * orders[$1.rotation] } }
}
