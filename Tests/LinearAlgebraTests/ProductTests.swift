import TensorCore
import TestSupport
import Testing

@testable import LinearAlgebra

@Suite struct ProductTests {
    /// A product as it is asked for: orientations, sizes, what lies between rows, factors.
    struct Case: CustomTestStringConvertible {
        var opA = Orientation.asStored, opB = Orientation.asStored
        var m: Int, n: Int, k: Int
        var gap = 0
        var alpha: Float = 1, beta: Float = 0

        var testDescription: String { "\(opA) \(opB) \(m)×\(n)×\(k), gap \(gap), α \(alpha), β \(beta)" }

        var lda: Int { (opA == .asStored ? k : m) + gap }
        var ldb: Int { (opB == .asStored ? n : k) + gap }
        var ldc: Int { n + gap }
        var countOfA: Int { (opA == .asStored ? m : k) * lda }
        var countOfB: Int { (opB == .asStored ? k : n) * ldb }

        func a(_ i: Int, _ p: Int) -> Int { opA == .asStored ? i * lda + p : p * lda + i }
        func b(_ p: Int, _ j: Int) -> Int { opB == .asStored ? p * ldb + j : j * ldb + p }
    }

    /// Tiles that end inside a panel, sums over several blocks, columns over several blocks, nothing to add up; rows that
    /// many threads cannot divide evenly, which leaves each of them several parts of the rest; both factors read where they
    /// lie, one, none.
    static let cases: [Case] = [
        Case(m: 1, n: 1, k: 1), Case(opB: .transposed, m: 3, n: 33, k: 17), Case(opA: .transposed, m: 15, n: 31, k: 257),
        Case(opA: .transposed, opB: .transposed, m: 29, n: 5, k: 600, gap: 3), Case(m: 5, n: 7, k: 0),
        Case(m: 5, n: 7, k: 0, beta: 0.5), Case(opB: .transposed, m: 20, n: 2100, k: 40, gap: 1),
        Case(m: 240, n: 65, k: 300, alpha: -0.5, beta: 1), Case(opB: .transposed, m: 7, n: 48, k: 512, alpha: 2, beta: 0.25),
        Case(opA: .transposed, m: 64, n: 100, k: 2000, beta: 1), Case(opB: .transposed, m: 530, n: 70, k: 270, gap: 2),
        Case(m: 700, n: 900, k: 40), Case(opA: .transposed, m: 300, n: 98, k: 280, gap: 2),
    ]

    private func multiply(
        _ c: Case, _ a: Tensor, _ b: Tensor, in precision: ProductPrecision = .float32, onto start: Tensor
    ) -> Tensor {
        var result = start.copy()
        gemm(
            c.opA, c.opB, m: c.m, n: c.n, k: c.k, alpha: c.alpha, a.pointer, lda: c.lda, b.pointer, ldb: c.ldb, beta: c.beta,
            result.mutablePointer, ldc: c.ldc, in: precision)
        return result
    }

    /// What a product in this precision multiplies.
    private func factor(_ x: Float, _ precision: ProductPrecision) -> Double {
        precision == .float32 ? Double(x) : Double(BFloat16.widen(BFloat16.narrow(x)))
    }

    @Test(arguments: cases, ProductPrecision.allCases)
    func `a product is the sum of products, and what lies between rows stays`(_ c: Case, precision: ProductPrecision) {
        var random = RandomStream(seed: 7)
        let (a, b) = (Tensor(normal: [c.countOfA + 1], from: &random), Tensor(normal: [c.countOfB + 1], from: &random))
        // What beta 0 must not read.
        let start = c.beta == 0 ? Tensor(repeating: .nan, [c.m, c.ldc]) : Tensor(normal: [c.m, c.ldc], from: &random)
        let result = multiply(c, a, b, in: precision, onto: start)
        for i in 0..<c.m {
            for j in 0..<c.n {
                let sum = (0..<c.k).reduce(0.0) {
                    $0 + factor(a[flat: c.a(i, $1)], precision) * factor(b[flat: c.b($1, j)], precision)
                }
                let before = c.beta == 0 ? 0 : Double(c.beta) * Double(start[i, j])
                let expected = Double(c.alpha) * sum + before
                #expect(abs(Double(result[i, j]) - expected) < 1e-4 * Double(c.k + 1).squareRoot(), "at \(i), \(j)")
            }
            for j in c.n..<c.ldc { #expect(result[i, j].bitPattern == start[i, j].bitPattern) }
        }
    }

    @Test(arguments: cases, ProductPrecision.allCases)
    func `no number depends on the threads`(_ c: Case, precision: ProductPrecision) {
        var random = RandomStream(seed: 8)
        let (a, b) = (Tensor(normal: [c.countOfA + 1], from: &random), Tensor(normal: [c.countOfB + 1], from: &random))
        let start = Tensor(normal: [c.m, c.ldc], from: &random)
        func product(threads: Int) -> [Float] {
            withThreads(threads) { multiply(c, a, b, in: precision, onto: start).elements }
        }
        let alone = product(threads: 1)
        for threads in [2, 3, 7, 16, 40] { #expect(product(threads: threads) == alone) }
    }

    /// So that cutting tokens into micro-batches, or ranks, changes no bit.
    @Test(arguments: ProductPrecision.allCases)
    func `no number depends on the other rows and columns`(precision: ProductPrecision) {
        func product(_ x: Tensor, _ w: Tensor) -> Tensor {
            var result = Tensor(uninitialized: [x.rows, w.rows])
            matmul(x, .asStored, w, .transposed, in: precision, into: &result)
            return result
        }
        var random = RandomStream(seed: 9)
        let (x, w) = (Tensor(normal: [300, 700], from: &random), Tensor(normal: [1100, 700], from: &random))
        let whole = product(x, w)
        for rows in [0..<1, 13..<16, 100..<229] {
            for columns in [0..<3, 31..<64, 1000..<1100] {
                let part = product(x.rows(rows), w.rows(columns))
                for (i, row) in rows.enumerated() {
                    let expected = whole.rows(row..<row + 1).elements[columns]
                    #expect(part.rows(i..<i + 1).elements[...] == expected)
                }
            }
        }
    }

    @Test(arguments: ProductPrecision.allCases) func `what is not a number stays so`(precision: ProductPrecision) {
        var a = Tensor(zeros: [20, 300])
        // The last one has its ones where rounding to bfloat16 cuts off.
        a[17, 250] = Float(bitPattern: 0x7f80_0001)
        var product = Tensor(uninitialized: [20, 40])
        matmul(a, .asStored, Tensor(zeros: [300, 40]), .asStored, in: precision, into: &product)
        #expect((0..<40).allSatisfy { product[17, $0].isNaN })
        #expect((0..<17).allSatisfy { product[$0, 0] == 0 })
    }
}
