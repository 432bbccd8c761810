import LinearAlgebra
import Quantization
import TensorCore
import Testing

@testable import TernarySVD

@Suite struct TernaryDigitsTests {
    private static let (m, n) = (48, 40)

    /// A weight and the statistics of inputs that depend on each other; `dead` is always 0.
    private static func problem(dead: Int? = nil) -> (weight: Tensor, statistics: InputStatistics) {
        var random = RandomStream(seed: 7)
        let weight = Tensor(normal: [m, n], from: &random)
        var inputs = matmul(
            Tensor(normal: [600, n], from: &random), .asStored, Tensor(normal: [n, n], from: &random))
        for i in 0..<inputs.rows {
            for j in 0..<n { inputs.mutablePointer[i * n + j] *= j == dead ? 0 : j % 5 == 0 ? 4 : 1 }
        }
        let statistics = InputStatistics(width: n, depth: .secondMoment)
        statistics.add(inputs)
        return (weight, statistics)
    }

    private static func error(_ weight: Tensor, _ factors: TernaryFactors, _ norm: DigitNorm) -> Double {
        let weights = (factors.balance?.a ?? []).map { 1 / ($0 * $0) }
        return
            (norm.norm.squared(weight - factors.unpacked(), rowWeights: weights)
            / norm.norm.squared(weight, rowWeights: weights)).squareRoot()
    }

    @Test func `every number is the sum of its digits`() {
        for number in -9841...9841 {
            var (rest, sum, power, count) = (number, 0, 1, 0)
            while rest != 0 {
                let digit = DigitColumns.lowestDigit(of: rest)
                #expect(abs(digit) <= 1)
                (sum, power, rest, count) = (sum + digit * power, power * 3, (rest - digit) / 3, count + 1)
            }
            #expect(sum == number && count <= 9)
        }
    }

    /// One channel a thousand times the others, as the first tokens of large models have it.
    @Test func `a channel of giant inputs costs large numbers, not the layer`() throws {
        var random = RandomStream(seed: 8)
        let weight = Tensor(normal: [Self.m, Self.n], from: &random)
        var inputs = Tensor(normal: [600, Self.n], from: &random)
        for i in 0..<600 { inputs.mutablePointer[i * Self.n + 2] *= 1000 }
        let statistics = InputStatistics(width: Self.n, depth: .secondMoment)
        statistics.add(inputs)
        let norm = try DigitNorm(statistics)
        let result = try TernaryDigits(weight, norm, .both).factors(epsilon: 0.003)
        #expect(result.relativeError < 0.0045, "\(result.relativeError)")
        #expect(result.factors.s.max() ?? 0 > 81)
    }

    @Test func `drafts foretell the bits of the whole`() throws {
        let (weight, statistics) = Self.problem()
        let digits = TernaryDigits(weight, try DigitNorm(statistics), .both)
        for epsilon in [0.02, 0.1, 0.3] {
            let bits = Double(8 * TernaryCode.encode(try digits.factors(epsilon: epsilon).factors).count)
            let ratio = digits.draftedBits(epsilon: epsilon) / bits
            #expect(ratio > 0.95 && ratio < 1.3, "\(ratio)")
        }
    }

    @Test(arguments: [TernaryWeighting.inputs, .both])
    func `V is a stack of identities, scales are powers of 3, and the error is the one reported`(
        weighting: TernaryWeighting
    ) throws {
        let (weight, statistics) = Self.problem()
        let norm = try DigitNorm(statistics)
        let digits = TernaryDigits(weight, norm, weighting)
        var last = (bits: Int.max, error: 0.0)
        for epsilon in [0.02, 0.1, 0.3] {
            let result = try digits.factors(epsilon: epsilon)
            let factors = result.factors
            #expect(factors.v.nonzeros == factors.componentCount)
            #expect(factors.s.allSatisfy { [1, 3, 9, 27, 81, 243].contains($0) })
            #expect(abs(Self.error(weight, factors, norm) / result.relativeError - 1) < 1e-2)
            // Half a unit at most for each number makes ε; zeros that save bits make it more.
            #expect(result.relativeError > 0.5 * epsilon && result.relativeError < 1.5 * epsilon)
            let bits = TernaryCode.encode(factors).count
            #expect(bits < last.bits && result.relativeError > last.error)
            last = (bits, result.relativeError)
        }
    }

    @Test func `numbers chosen together lose far less than rounding does with the same units`() throws {
        let (weight, statistics) = Self.problem()
        let norm = try DigitNorm(statistics)
        let digits = TernaryDigits(weight, norm, .inputs)
        let whole = try digits.factors(epsilon: 0.2).factors
        let balance = try #require(whole.balance)
        var rounded = weight.copy()
        for place in 0..<rounded.count {
            let unit = balance.b[place % Self.n]
            rounded.mutablePointer[place] = (weight.pointer[place] / unit).rounded() * unit
        }
        let ones = [Float](repeating: 1, count: Self.m)
        let loss = [rounded, whole.unpacked()].map { norm.norm.squared(weight - $0, rowWeights: ones) }
        #expect(loss[1] < 0.55 * loss[0], "\(loss)")
    }

    @Test func `an input that never comes takes no digits, and zeros stay zeros`() throws {
        let (weight, statistics) = Self.problem(dead: 3)
        let norm = try DigitNorm(statistics)
        var holed = weight.copy()
        for j in 0..<Self.n { holed.mutablePointer[5 * Self.n + j] = 0 }
        let matrix = try TernaryDigits(holed, norm, .both).factors(epsilon: 0.1).factors.unpacked()
        #expect((0..<Self.m).allSatisfy { matrix[$0, 3] == 0 })
        #expect((0..<Self.n).allSatisfy { matrix[5, $0] == 0 })
        let nothing = try TernaryDigits(Tensor(zeros: [Self.m, Self.n]), norm, .both).factors(epsilon: 0.1)
        #expect(nothing.factors.componentCount == 0 && nothing.relativeError == 0)
        // No unit says what columns are worth: scales that no product makes infinite.
        #expect(nothing.factors.balance?.b == [Float](repeating: 1, count: Self.n))
    }

    @Test func `a budget gives equal slopes, follows what layers take, and says what it cannot reach`() throws {
        let counts = [1000, 4000, 1000]
        // A bit less for each doubling of the unit, from 8, 7 and 6 bits a weight on.
        let bits = [8.0, 7, 6].enumerated().map { layer, most in
            DigitBudget.drafts.indices.map { Double(counts[layer]) * max(0, most - Double($0)) }
        }
        var budget = try DigitBudget(counts: counts, bits: bits, total: 6000 * 3)
        // 8 + 4·7 + 6 = 42 thousand bits less 6 thousand a doubling: 4 doublings.
        #expect(abs(budget.level / 0.16 - 1) < 1e-6)
        #expect(abs(budget.epsilon(1) / budget.epsilon(0) - 2) < 1e-9)
        budget.note(0, bits: 4400)
        // A tenth more than planned: the others, which will likely take as much more, get larger units.
        #expect(budget.level > 0.17 && budget.level < 0.16 * 1.5 + 1e-9)
        // Another rank goes on where this one stops.
        var next = try DigitBudget(counts: counts, bits: bits, total: 6000 * 3)
        next.resume(after: [0], DigitBudget.Spent(bytes: budget.spent.bytes))
        #expect(next.level == budget.level && next.spent == budget.spent)
        // Nobody has drafted what finer units than the finest take.
        var rich = try DigitBudget(counts: counts, bits: bits, total: 6000 * 6.9)
        rich.note(0, bits: 4000)
        #expect(abs(rich.level - DigitBudget.drafts[0]) < 1e-9)
        // Coarse units are followed far: the others take what the first has left.
        var poor = try DigitBudget(counts: counts, bits: bits, total: 6000 * 1.5)
        let planned = poor.level
        poor.note(0, bits: 1)
        #expect(poor.level < planned / 1.5 && poor.level > planned / 4)
        for total in [1.0, 60_000] {
            #expect(throws: DigitBudget.Unreachable(least: bits.reduce(0) { $0 + $1[7] } / 6000, most: 7)) {
                try DigitBudget(counts: counts, bits: bits, total: total)
            }
        }
    }

    /// What a refusal names must be accepted, and a hundredth less must not.
    @Test func `The bits that a refusal says are possible are possible`() throws {
        let (counts, margin, headers) = ([1000, 2000, 3000], 0.002, 700.0)
        let bits = counts.map { count in DigitBudget.drafts.indices.map { Double(count) * (5.4321 - 0.7453 * Double($0)) } }
        func budget(_ bits: [[Double]], _ setting: Double) throws(DigitBudget.Unreachable) {
            _ = try DigitBudget(counts: counts, bits: bits, total: (1 - margin) * setting * 6000 - headers)
        }
        let error = try #require(throws: DigitBudget.Unreachable.self) { try budget(bits, 0.1) }
        let (least, most) = error.possible(extra: headers / 6000, margin: margin)
        for setting in [least, most] {
            #expect(throws: Never.self) { try budget(bits, setting) }
        }
        for setting in [least - 0.01, most + 0.01] {
            #expect(throws: DigitBudget.Unreachable.self) { try budget(bits, setting) }
        }
    }
}
