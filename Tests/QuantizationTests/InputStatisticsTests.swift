import TensorCore
import Testing

@testable import Quantization

@Suite struct InputStatisticsTests {
    /// 600 channels are five panels, 1199 tokens of a part two products; the tokens come in unequal parts.
    @Test(arguments: [InputStatistics.Depth.channels, .secondMoment, .deviation])
    func `sums are those of all tokens, in whatever parts they come`(_ depth: InputStatistics.Depth) {
        var random = RandomStream(seed: 81)
        let (tokens, width) = (1500, 600)
        let x = Tensor(normal: [tokens, width], from: &random)
        let exact = Tensor(normal: [tokens, width], from: &random)
        let statistics = InputStatistics(width: width, depth: depth)
        for part in [0..<1, 1..<300, 300..<1499, 1499..<1500] {
            statistics.add(x.rows(part), exact: depth == .deviation ? exact.rows(part) : nil)
        }
        #expect(statistics.rows == tokens)
        for i in [0, 1, 127, 128, 511, 512, 599] {
            let column = (0..<tokens).map { Double(x[$0, i]) }
            #expect(abs(statistics.means[i] - column.reduce(0, +) / Double(tokens)) < 1e-9)
            let square = column.reduce(0) { $0 + $1 * $1 } / Double(tokens)
            #expect(abs(statistics.meanSquares[i] - square) < 1e-5)
            #expect(statistics.maxima[i] == column.map { Float(abs($0)) }.max())
            guard depth >= .secondMoment else { continue }
            for j in [0, i / 2, i] {
                let sum = (0..<tokens).reduce(0.0) { $0 + Double(x[$1, i]) * Double(x[$1, j]) }
                // Float32 products of 1,024 tokens.
                #expect(abs(statistics.productRow(i)[j] - sum) < 1e-2)
            }
            guard depth == .deviation else { continue }
            for j in [0, 127, 128, 511, 512, 599] {
                let sum = (0..<tokens).reduce(0.0) { $0 + Double(exact[$1, i] - x[$1, i]) * Double(x[$1, j]) }
                #expect(abs(statistics.deviationRow(i)[j] - sum) < 1e-2)
            }
        }
    }

    @Test func `what a window adds does not depend on the windows before it, but for the last digit of a double`() {
        var random = RandomStream(seed: 82)
        let width = 24
        let windows = (0..<6).map { _ in
            (Tensor(normal: [40, width], from: &random), Tensor(normal: [40, width], from: &random))
        }
        let sums = [[0, 1, 2, 3, 4, 5], [4, 2, 0, 5, 3, 1]].map { order in
            let statistics = InputStatistics(width: width, depth: .deviation)
            for index in order { statistics.add(windows[index].0, exact: windows[index].1) }
            return Array(statistics.sums.elements)
        }
        for (one, other) in zip(sums[0], sums[1]) { #expect(abs(one - other) <= 1e-13 * max(1, abs(one))) }
    }
}
