import TensorCore
import TestSupport
import Testing

@testable import TernarySVD

/// Passes over rows on all threads, against one element after the other.
@Suite struct BalanceTests {
    @Test(arguments: [[1, 1], [3, 5], [4, 64], [9, 70], [130, 300]], [1, 3])
    func `a balanced matrix and its mean squares are, to the bit, what one loop over all elements makes`(
        _ shape: [Int], _ threads: Int
    ) throws {
        let (m, n) = (shape[0], shape[1])
        var random = RandomStream(seed: 5)
        let w = Tensor(normal: shape, deviation: 1e-3, from: &random)
        for extreme in [1, 1e-20, 1e20] as [Float] {
            // The product of a row's and a column's scale is no normal number, and the quotient is one.
            var a = Tensor(normal: [1, m], from: &random).elements.map { abs($0) + 0.1 }
            var b = Tensor(normal: [1, n], from: &random).elements.map { abs($0) + 0.1 }
            (a[m / 2], b[n / 2]) = (extreme, extreme)
            let balance = Balance(a: a, b: b)
            let (balanced, restored, squares) = withThreads(threads) {
                (balance.applied(to: w), balance.restored(w), w.meanSquares)
            }
            var (rows, columns) = ([Double](repeating: 0, count: m), [Double](repeating: 0, count: n))
            for i in 0..<m {
                for j in 0..<n {
                    let (x, product) = (w[i, j], a[i] * b[j])
                    let quotient = product.isNormal ? x / product : Float(Double(x) / (Double(a[i]) * Double(b[j])))
                    #expect(balanced[i, j] == quotient && restored[i, j] == x * product)
                    rows[i] += Double(x) * Double(x)
                    columns[j] += Double(x) * Double(x)
                }
            }
            #expect(squares.rows == rows.map { $0 / Double(n) } && squares.columns == columns.map { $0 / Double(m) })
        }
    }
}
