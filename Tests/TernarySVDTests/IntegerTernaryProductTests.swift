import LinearAlgebra
import Support
import TensorCore
import TestSupport
import Testing

@testable import TernarySVD

/// The ternary product in integers, against integers added up one by one. `launch/test` runs them with each instruction set.
@Suite struct IntegerTernaryProductTests {
    /// - Parameter zeros: of ten entries, how many are 0.
    private func ternary(_ m: Int, _ n: Int, seed: UInt64, zeros: UInt64 = 8) -> Tensor {
        var random = RandomStream(seed: seed)
        return Tensor((0..<m * n).map { _ in random.next() % 10 < zeros ? 0 : random.next() % 2 == 0 ? 1 : -1 }, [m, n])
    }

    private func factors(_ m: Int, _ k: Int, _ n: Int, balanced: Bool, zeros: UInt64 = 8) -> TernaryFactors {
        var random = RandomStream(seed: 8)
        let s = Tensor(normal: [k], from: &random).elements
        let balance = Balance(a: (0..<m).map { 1 + Float($0 % 7) / 8 }, b: (0..<n).map { 1 + Float($0 % 5) / 3 })
        return TernaryFactors(
            u: PackedTernary(ternary(m, k, seed: 3, zeros: zeros)), s: s,
            v: PackedTernary(ternary(k, n, seed: 4, zeros: zeros)),
            balance: balanced ? balance : nil, tolerance: 0.1)
    }

    private func tokens(_ count: Int, _ columns: Int) -> Tensor {
        var random = RandomStream(seed: 9)
        return Tensor(normal: [count, columns], from: &random)
    }

    private func product(_ x: [Float], _ t: Tensor, _ scales: [Float]) -> [Float] {
        let range = RoundedRange(x, bits: 8, symmetric: true)
        return (0..<t.rows).map { row in
            IntegerReference.product([range], width: x.count, group: x.count, columns: x.count) {
                (Int(t[row, $0]), 0, scales[row])
            }
        }
    }

    private func reference(_ x: Tensor, _ factors: TernaryFactors) -> [Float] {
        let (u, v) = (factors.u.unpacked, factors.v.unpacked)
        return (0..<x.rows).flatMap { t in
            var token = x.rows(t..<t + 1).elements
            if let b = factors.balance?.b { token = zip(token, b).map { $0 * $1 } }
            let z = product(token, v, factors.s)
            return product(z, u, factors.balance?.a ?? [Float](repeating: 1, count: u.rows))
        }
    }

    /// Sizes that fill panels and lines, and that leave every remainder; one token, and more than one block of them.
    @Test(
        arguments: [[1, 1, 1], [5, 1, 17], [40, 70, 130], [32, 64, 16], [33, 65, 15], [96, 31, 256]], [0, 8, 10] as [UInt64])
    func `products are those of integers added one by one`(shape: [Int], zeros: UInt64) {
        for balanced in [false, true] {
            let factors = factors(shape[0], shape[1], shape[2], balanced: balanced, zeros: zeros)
            let product = IntegerTernaryProduct(factors)
            for count in [1, 2, 11, 12, 24, 25, 53] {
                let x = tokens(count, shape[2])
                #expect(product.apply(x).elements == reference(x, factors))
            }
        }
    }

    @Test func `a sum of all entries of a long row overflows nothing`() {
        let n = 40000
        let factors = TernaryFactors(
            u: PackedTernary(Tensor([1, -1], [2, 1])), s: [1], v: PackedTernary(Tensor(repeating: -1, [1, n])), tolerance: 0.1)
        // More columns than one sum covers: −127 each, in two sums.
        let z = -Float(127 * 32768) - Float(127 * (n - 32768))
        let d = z.magnitude / 127
        #expect(IntegerTernaryProduct(factors).apply(Tensor(repeating: 127, [1, n])).elements == [-127 * d, 127 * d])
    }

    /// 8 bits of a Gaussian vector err by 1 % of its norm or less: a step of max/127 ≈ 3.5/127, uniform over it.
    @Test func `rounding twice to 8 bits stays within 2 percent of the product in float32`() {
        let factors = factors(128, 200, 160, balanced: true)
        let x = tokens(32, 160)
        let exact = factors.apply(x)
        var difference = IntegerTernaryProduct(factors).apply(x)
        difference.add(exact, scale: -1)
        #expect(difference.squaredNorm <= 4e-4 * exact.squaredNorm)
        #expect(difference.squaredNorm > 0)
    }

    /// But for sums of floats, which may round a component on a tie to its neighbor.
    @Test(arguments: [false, true]) func `integers agree with what they stand for in floats`(balanced: Bool) {
        let factors = factors(128, 200, 160, balanced: balanced)
        let x = tokens(32, 160)
        let floats = factors.fakeQuantizedProduct(x.reshaped([4, 8, 160]), whole: false)
        #expect(floats.shape == [4, 8, 128])
        var difference = IntegerTernaryProduct(factors).apply(x)
        difference.add(floats.reshaped([32, 128]), scale: -1)
        #expect(difference.squaredNorm <= 1e-8 * floats.squaredNorm)
    }

    @Test func `tokens do not see one another`() {
        let factors = factors(45, 70, 50, balanced: true)
        let product = IntegerTernaryProduct(factors)
        var x = tokens(30, 50)
        let all = product.apply(x)
        for t in 0..<30 { #expect(product.apply(x.rows(t..<t + 1)).elements == all.rows(t..<t + 1).elements) }
        x[7, 3] = .nan
        let bad = product.apply(x)
        for t in 0..<30 {
            let row = bad.rows(t..<t + 1).elements
            #expect(t == 7 ? row.allSatisfy { $0.isNaN } : row == all.rows(t..<t + 1).elements)
        }
    }

    @Test func `shapes are kept, and what is empty gives zeros`() {
        let product = IntegerTernaryProduct(factors(9, 20, 30, balanced: false))
        #expect(product.apply(Tensor(zeros: [2, 3, 30])).shape == [2, 3, 9])
        #expect(product.apply(Tensor(zeros: [2, 3, 30])).elements.allSatisfy { $0 == 0 })
        #expect(product.apply(Tensor(zeros: [0, 30])).shape == [0, 9])
        let nothing = TernaryFactors(
            u: PackedTernary(Tensor(zeros: [9, 0])), s: [], v: PackedTernary(Tensor(zeros: [0, 30])), tolerance: 0.1)
        #expect(IntegerTernaryProduct(nothing).apply(tokens(2, 30)).elements == [Float](repeating: 0, count: 18))
        #expect(nothing.fakeQuantizedProduct(tokens(2, 30), whole: false).elements == [Float](repeating: 0, count: 18))
    }

    /// Digits of the numbers −most … most, in powers of 3 or of 2.
    private func digits(_ most: Int, sparse: Bool) -> (factors: TernaryFactors, numbers: Tensor) {
        let (m, n) = (45, 37)
        let codes = (0..<m * n).map { $0 == 5 ? Int16(most) : Int16($0 * 31 % (2 * most + 1) - most) }
        let digits = sparse ? DigitColumns(binary: codes, n) : DigitColumns(ternary: codes, n)
        let k = digits.places.count
        var v = Tensor(zeros: [k, n])
        for (component, place) in digits.places.enumerated() { v[component, place] = 1 }
        let balance = Balance(a: (0..<m).map { 1 + Float($0 % 7) / 8 }, b: (0..<n).map { 1 + Float($0 % 5) / 3 })
        let factors = TernaryFactors(
            u: PackedTernary(Tensor(digits.columns, [k, m]).transposed()), s: digits.scales, v: PackedTernary(v),
            balance: balance, tolerance: 0.1, sparsity: sparse ? .twoOfFour : .none)
        return (factors, Tensor(codes.map(Float.init), [m, n]))
    }

    @Test(arguments: [(1, 2), (4, 4), (7, 4), (8, 8), (127, 8)], [false, true])
    func `digits are multiplied as the whole numbers they stand for`(_ size: (most: Int, bits: Int), sparse: Bool) throws {
        let (factors, numbers) = digits(size.most, sparse: sparse)
        let balance = try #require(factors.balance)
        let product = IntegerTernaryProduct(factors)
        #expect(product.byteCount == 64 * 48 * size.bits / 8 + 4 * 64)
        for count in [0, 1, 2, 25] {
            let x = tokens(count, 37)
            let expected = (0..<count).flatMap { t in
                self.product(
                    zip(x.rows(t..<t + 1).elements, balance.b).map { $0 * $1 }, numbers, balance.a)
            }
            #expect(product.apply(x).elements == expected)
        }
        let floats = factors.fakeQuantizedProduct(tokens(4, 37), whole: factors.areWholeNumbers)
        var difference = product.apply(tokens(4, 37))
        difference.add(floats, scale: -1)
        #expect(difference.squaredNorm <= 1e-10 * floats.squaredNorm)
    }

    @Test(arguments: [false, true]) func `numbers beyond 8 bits are multiplied digit by digit`(sparse: Bool) {
        let (factors, _) = digits(128, sparse: sparse)
        #expect(factors.wholeNumbers == nil)
        #expect(IntegerTernaryProduct(factors).apply(tokens(3, 37)).elements == reference(tokens(3, 37), factors))
    }

    @Test func `packed factors take two bits an entry`() {
        let product = IntegerTernaryProduct(factors(256, 512, 256, balanced: false))
        #expect(product.byteCount == (256 * 512 + 512 * 256) / 4 + 4 * (256 + 512))
    }
}
