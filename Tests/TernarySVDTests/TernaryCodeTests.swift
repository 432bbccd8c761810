import Glibc
import HuggingFace
import Support
import TensorCore
import TestSupport
import Testing

@testable import TernarySVD

@Suite struct TernaryCodeTests {
    private func ternary(_ m: Int, _ n: Int, _ random: inout RandomStream, zeros: UInt64) -> Tensor {
        Tensor((0..<m * n).map { _ in random.next() % 6 < zeros ? 0 : random.next() % 2 == 0 ? 1 : -1 }, [m, n])
    }

    /// Factors whose every other row of V is a unit, at places that come again.
    private func factors(
        _ shape: [Int], zeros: UInt64, isBalanced: Bool, isShort: Bool, units: Bool = true, seed: UInt64 = 1
    ) -> TernaryFactors {
        let (m, k, n) = (shape[0], shape[1], shape[2])
        var random = RandomStream(seed: seed)
        let u = ternary(m, k, &random, zeros: zeros)
        var v = ternary(k, n, &random, zeros: zeros)
        for j in 0..<k where units && j % 2 == 0 {
            for c in 0..<n { v.mutablePointer[j * n + c] = c == (j / 2 * 3) % n ? (j % 6 == 0 ? -1 : 1) : 0 }
        }
        func numbers(_ count: Int) -> [Float] {
            Tensor(normal: [max(1, count)], from: &random).elements.prefix(count).map {
                isShort ? $0.roundedToBFloat16 : $0
            }
        }
        let balance = isBalanced ? Balance(a: numbers(m).map(abs), b: numbers(n).map(abs)) : nil
        return TernaryFactors(
            u: PackedTernary(u), s: numbers(k), v: PackedTernary(v), balance: balance, tolerance: 0.1, form: "linear")
    }

    private func decoded(_ bytes: [UInt8], _ shape: [Int]) throws -> TernaryFactors {
        try TernaryCode.decode(
            bytes, rows: shape[0], componentCount: shape[1], columns: shape[2], tolerance: 0.1, form: "linear")
    }

    private func expectEqual(_ a: TernaryFactors, _ b: TernaryFactors) {
        #expect(a.u == b.u && a.v == b.v && a.s == b.s)
        #expect(a.balance?.a == b.balance?.a && a.balance?.b == b.balance?.b)
    }

    @Test(arguments: [[1, 1, 1], [1, 0, 3], [7, 9, 5], [64, 40, 33], [3, 200, 8]], [0, 3, 5, 6] as [UInt64])
    func `a code is read back as the factors it was made of, bit for bit`(shape: [Int], zeros: UInt64) throws {
        for (isBalanced, isShort, units) in [
            (true, true, true), (true, false, false), (false, true, false), (false, false, true),
        ] {
            let own = factors(shape, zeros: zeros, isBalanced: isBalanced, isShort: isShort, units: units)
            let code = TernaryCode.encode(own)
            expectEqual(try decoded(code, shape), own)
            let again = TernaryCode.encode(try decoded(code, shape))
            #expect(again == code)
        }
    }

    @Test func `entries cost what their frequency says, and digits of one column no more than its whole numbers`() {
        // A fifth of non-zeros: 0.72 bits for where they are, 0.2 for their signs.
        let sparse = factors([300, 100, 300], zeros: 5, isBalanced: false, isShort: true, units: false)
        let share = Double(sparse.additions) / 60_000
        let entropy = 60_000 * (-share * log2(share) - (1 - share) * log2(1 - share) + share)
        let bits = Double(8 * TernaryCode.encode(sparse).count) - 100 * 16
        #expect(bits > 0.98 * entropy && bits < 1.02 * entropy, "\(bits) for \(entropy)")
        // Whole numbers −4 … 4 as 3·T₁ + T₀ with V's rows units: T₀ is coded knowing T₁.
        let (m, n) = (2000, 4)
        var random = RandomStream(seed: 4)
        let numbers = Tensor(normal: [m, n], from: &random).elements.map { min(4, max(-4, (1.5 * $0).rounded())) }
        var counts: [Float: Double] = [:]
        for number in numbers { counts[number, default: 0] += 1 }
        let joint = counts.values.reduce(0) { $0 - $1 * log2($1 / Double(m * n)) }
        let high = numbers.map { abs($0) < 2 ? 0 : $0 > 0 ? Float(1) : -1 }
        let u = Tensor(
            (0..<m).flatMap { i in
                (0..<2 * n).map { $0 < n ? high[i * n + $0] : numbers[i * n + $0 - n] - 3 * high[i * n + $0 - n] }
            }, [m, 2 * n])
        let v = Tensor((0..<2 * n * n).map { $0 / n % n == $0 % n ? 1 : 0 }, [2 * n, n])
        let digits = TernaryFactors(
            u: PackedTernary(u), s: (0..<2 * n).map { $0 < n ? 3 : 1 }, v: PackedTernary(v), tolerance: 0.1)
        #expect(Double(8 * TernaryCode.encode(digits).count) < 1.01 * joint + 300)
    }

    @Test func `no damaged code traps, and what is cut or too long is refused`() throws {
        let shape = [24, 15, 18]
        let own = factors(shape, zeros: 4, isBalanced: true, isShort: true)
        let code = TernaryCode.encode(own)
        for length in 0..<code.count {
            #expect(throws: TernaryCode.Malformed.self) { try decoded(Array(code.prefix(length)), shape) }
        }
        #expect(throws: TernaryCode.Malformed.self) { try decoded(code + [0], shape) }
        for bad in [[24, 16, 18], [0, 15, 18], [24, 1 << 40, 18], [1 << 62, 15, 18], [24, 15, 1 << 40]] {
            #expect(throws: TernaryCode.Malformed.self) { try decoded(code, bad) }
        }
        var random = RandomStream(seed: 9)
        var (read, refused) = (0, 0)
        for _ in 0..<2000 {
            var bytes = code
            for _ in 0...random.next() % 3 {
                bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
            }
            do {
                let other = try decoded(bytes, shape)
                read += 1
                #expect([other.u.rows, other.componentCount, other.v.columns] == shape && other.s.allSatisfy { $0.isFinite })
            } catch is TernaryCode.Malformed {
                refused += 1
            }
        }
        #expect(read > 0 && refused > 0, "\(read) read, \(refused) refused")
    }
}
