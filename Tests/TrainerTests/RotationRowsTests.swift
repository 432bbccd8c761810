import Rotation
import TensorCore
import Testing

@testable import Trainer

@Suite struct RotationRowsTests {
    @Test(arguments: [1, 2, 3, 16, 40], [[1024, 64, 64, 64, 64], [48, 16, 16], [130], []])
    func `every row is one rank's, in the order of the ranks`(_ ranks: Int, _ orders: [Int]) {
        let shares = RotationRows(orders: orders, ranks: ranks)
        let pieces = (0..<ranks).flatMap { shares.pieces(of: $0) }
        var next = orders.map { _ in 0 }
        for (index, piece) in pieces.enumerated() {
            #expect(piece.rows.lowerBound == next[piece.rotation] && !piece.rows.isEmpty)
            #expect(piece.rows.lowerBound % CayleyStep.chunk == 0)
            next[piece.rotation] = piece.rows.upperBound
            if index > 0 { #expect(pieces[index - 1].rotation <= piece.rotation) }
        }
        #expect(next == orders)
        #expect((0..<ranks).reduce(0) { $0 + shares.count(of: $1) } == orders.reduce(0) { $0 + $1 * $1 })
    }

    @Test func `sixteen ranks have a sixteenth each of a large matrix`() {
        let shares = RotationRows(orders: [1024, 64, 64], ranks: 16)
        for rank in 0..<16 { #expect(shares.pieces(of: rank).first == .init(rotation: 0, rows: rank * 64..<rank * 64 + 64)) }
    }

    @Test(arguments: [64, 200]) func `rows of a step have the bits that they have in the whole`(_ n: Int) throws {
        var random = RandomStream(seed: 8)
        let start = try CayleySGD.orthonormalized(Tensor(normal: [n, n], from: &random))
        let m = Tensor(normal: [n, n], from: &random)
        let step = try CayleySGD().begin(start, skew: SkewMatrix.pack(m), learningRate: 0.01)
        let whole = try step.rows(0..<n)
        #expect(orthogonalityError(whole) < 1e-5)
        for first in stride(from: 0, to: n, by: 64) {
            let rows = first..<min(n, first + 64)
            #expect(try step.rows(rows).elements == whole.rows(rows).elements)
            #expect(orthogonalityError(whole, rows: rows) <= orthogonalityError(whole))
        }
    }
}
