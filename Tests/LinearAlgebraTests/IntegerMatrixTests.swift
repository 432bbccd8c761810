import TensorCore
import Testing

@testable import LinearAlgebra

@Suite struct IntegerMatrixTests {
    private func matrix(_ rows: Int, _ columns: Int) -> IntegerMatrix {
        IntegerMatrix(
            rows: rows, columns: columns, group: columns, bits: 4, zeros: .all(8), forTokensWithZeros: false,
            scale: { row, _ in 1 + Float(row) / 64 }
        ) { range, codes in
            for index in 0..<range.count * columns { codes[index] = UInt8((range.lowerBound * columns + index) * 7 % 16) }
        }
    }

    /// Rows that do not fill the last panel, and more threads than there are processors, or than panels.
    @Test(arguments: [(290, 4096, 12), (70, 16384, 1), (33, 32768, 24)])
    func `threads share the rows and change no bit`(rows: Int, columns: Int, count: Int) {
        var random = RandomStream(seed: 3)
        let matrix = matrix(rows, columns)
        let tokens = IntegerTokens(
            rounding: Tensor(normal: [count, columns], from: &random), by: TokenRounding(), group: matrix.group)
        let alone = matrix.product(tokens, threads: 1).elements
        for threads in [2, 3, 5] { #expect(matrix.product(tokens, threads: threads).elements == alone) }
    }
}
