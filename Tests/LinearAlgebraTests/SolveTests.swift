import TensorCore
import TestSupport
import Testing

@testable import LinearAlgebra

@Suite struct SolveTests {
    /// A symmetric positive definite matrix B·Bᵀ + I, whose entries float32 holds exactly.
    private func positiveDefinite(_ k: Int, seed: UInt64) -> Oracle {
        var random = RandomStream(seed: seed)
        let b = Oracle(k, k) { (_: Int, _: Int) -> Double in (random.normal() * 8).rounded() / 8 }
        let product = b * b.transposed
        return Oracle(k, k) { product[$0, $1] + ($0 == $1 ? 1 : 0) }
    }

    private func rightHandSide(_ k: Int, seed: UInt64) -> [Double] {
        var random = RandomStream(seed: seed)
        return (0..<k).map { _ in (random.normal() * 8).rounded() / 8 }
    }

    /// max |A·s + λ·s − x|, in double precision, relative to max |x|.
    private func residual(_ a: Oracle, _ diagonal: Double, _ s: [Double], _ x: [Double]) -> Double {
        var largest = 0.0
        for i in 0..<x.count {
            var sum = diagonal * s[i] - x[i]
            for j in 0..<x.count { sum += a[i, j] * s[j] }
            largest = max(largest, abs(sum))
        }
        return largest / (x.map { abs($0) }.max() ?? 1)
    }

    /// Rows come one, then many, then beyond the capacity: the factor grows, and the solution is that of all rows so far.
    @Test(arguments: [0, 0.5]) func `a Cholesky factor that grows solves for all of its rows`(diagonal: Double) throws {
        let (k, parts) = (23, [1, 4, 3, 15])
        let (a, x) = (positiveDefinite(k, seed: 41), rightHandSide(k, seed: 42))
        var factor = CholeskyFactor(capacity: 4)
        for _ in 0..<2 {
            var first = 0
            for count in parts {
                try factor.append(
                    count: count, diagonal: Float(diagonal), rightHandSide: x[first..<first + count].map { Float($0) }
                ) {
                    target, distance in
                    for i in 0..<count {
                        for j in 0...first + i { target[i * distance + j] = Float(a[first + i, j]) }
                    }
                }
                first += count
                #expect(factor.order == first)
                let solution = factor.solution().map(Double.init)
                let leading = Oracle(first, first) { a[$0, $1] }
                #expect(residual(leading, diagonal, solution, Array(x[..<first])) < 2e-3)
                var lower = leading.values
                let exact = try solvePositiveDefinite(&lower, diagonal: diagonal, Array(x[..<first]))
                #expect(residual(leading, diagonal, exact, Array(x[..<first])) < 1e-10)
            }
            // Forgotten, and once more in the same memory.
            factor.reset()
            #expect(factor.order == 0 && factor.solution().isEmpty)
        }
    }

    @Test func `a matrix that is not positive definite is refused, and the factor stays as it was`() throws {
        var factor = CholeskyFactor(capacity: 2)
        try factor.append(count: 1, diagonal: 0, rightHandSide: [6]) { target, _ in target[0] = 4 }
        #expect(throws: LAPACKError.self) {
            try factor.append(count: 2, diagonal: 0, rightHandSide: [1, 1]) { target, distance in
                (target[0], target[1]) = (8, 1)
                (target[distance], target[distance + 1], target[distance + 2]) = (0, 0, 1)
            }
        }
        #expect(factor.order == 1 && factor.solution() == [1.5])
        var indefinite = [1.0, 0, 0, -1]
        #expect(throws: LAPACKError.self) { try solvePositiveDefinite(&indefinite, diagonal: 0, [1, 1]) }
        var nothing: [Double] = []
        #expect(try solvePositiveDefinite(&nothing, diagonal: 1, []).isEmpty)
    }

    @Test func `a value that is not a number is refused`() throws {
        var factor = CholeskyFactor()
        #expect(throws: LAPACKError(routine: "spotrf", shape: [2, 2], code: 2)) {
            try factor.append(count: 2, diagonal: 1, rightHandSide: [1, 1]) { target, distance in
                (target[0], target[distance], target[distance + 1]) = (1, .nan, 1)
            }
        }
        #expect(factor.order == 0)
        var matrix = [1, 0, .nan, 1]
        #expect(throws: LAPACKError(routine: "dposv", shape: [2, 2], code: 1)) {
            try solvePositiveDefinite(&matrix, diagonal: 0, [1, 1])
        }
        let storage = DoubleStorage(zeros: 4)
        (storage.pointer[0], storage.pointer[1], storage.pointer[3]) = (1, .nan, 1)
        #expect(throws: LAPACKError(routine: "dpotrf", shape: [2, 2], code: 2)) { try factorizeCholesky(storage, order: 2) }
    }

    @Test func `division from the right undoes the product`() throws {
        let (rows, n) = (5, 8)
        var random = RandomStream(seed: 43)
        let z = Oracle(rows, n) { _, _ in random.normal() }
        // A zero in the corner asks for pivoting.
        let a = Oracle(n, n) { i, j in i == 0 && j == 0 ? 0 : random.normal() }
        let (numerator, divisor) = (DoubleStorage(zeros: rows * n), DoubleStorage(zeros: n * n))
        for (i, value) in (z * a).values.enumerated() { numerator.pointer[i] = value }
        for (i, value) in a.values.enumerated() { divisor.pointer[i] = value }
        let factors = try LUFactors(divisor, order: n)
        // Rows do not depend on each other.
        try factors.rightDivide(UnsafeMutableBufferPointer(rebasing: numerator.elements[..<(2 * n)]))
        try factors.rightDivide(UnsafeMutableBufferPointer(rebasing: numerator.elements[(2 * n)...]))
        for (i, value) in z.values.enumerated() { #expect(abs(numerator.pointer[i] - value) < 1e-10) }
        #expect(throws: LAPACKError.self) { try LUFactors(DoubleStorage(zeros: 4), order: 2) }
    }

    @Test func `rows are solved for to the same bits by any number of threads`() throws {
        let (rows, n) = (3 * LUFactors.chunk + 5, 72)
        var random = RandomStream(seed: 45)
        let (a, b) = (Tensor(normal: [n, n], from: &random), Tensor(normal: [rows, n], from: &random))
        func solution(threads: Int) throws -> [UInt64] {
            try withThreads(threads) {
                let quotient = DoubleStorage(b) { Double($0) }
                try LUFactors(DoubleStorage(a) { Double($0) }, order: n).rightDivide(quotient.elements)
                return quotient.elements.map(\.bitPattern)
            }
        }
        let alone = try solution(threads: 1)
        for threads in [2, 3, 7] { #expect(try solution(threads: threads) == alone) }
        // A chunk alone has the bits that it has among others.
        let chunk = DoubleStorage(b.rows(LUFactors.chunk..<2 * LUFactors.chunk)) { Double($0) }
        try LUFactors(DoubleStorage(a) { Double($0) }, order: n).rightDivide(chunk.elements)
        #expect(chunk.elements.map(\.bitPattern) == Array(alone[LUFactors.chunk * n..<2 * LUFactors.chunk * n]))
        for row in [0, rows - 1] {
            let spoiled = DoubleStorage(b) { Double($0) }
            spoiled.pointer[row * n + 3] = .nan
            #expect(throws: LAPACKError.self) {
                try LUFactors(DoubleStorage(a) { Double($0) }, order: n).rightDivide(spoiled.elements)
            }
        }
    }

    @Test(arguments: [Orientation.asStored, .transposed], [Orientation.asStored, .transposed])
    func `products are those of double precision, whatever is transposed`(_ opA: Orientation, _ opB: Orientation) {
        var random = RandomStream(seed: 44)
        let (m, n, k) = (7, 9, 11)
        let a = Tensor(normal: opA == .asStored ? [m, k] : [k, m], from: &random)
        let b = Tensor(normal: opB == .asStored ? [k, n] : [n, k], from: &random)
        let left = opA == .asStored ? Oracle(a) : Oracle(a).transposed
        let right = opB == .asStored ? Oracle(b) : Oracle(b).transposed
        let product = left * right
        #expect(Oracle.distance(Oracle(matmul(a, opA, b, opB)), product) < 1e-5)
        var sum = Tensor(repeating: 2, [m, n])
        matmul(a, opA, b, opB, alpha: -0.5, beta: 3, into: &sum)
        #expect(Oracle.distance(Oracle(sum), Oracle(m, n) { 6 - 0.5 * product[$0, $1] }) < 1e-5)
    }
}
