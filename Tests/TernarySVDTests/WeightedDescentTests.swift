import LinearAlgebra
import TensorCore
import Testing

@testable import TernarySVD

@Suite struct WeightedDescentTests {
    /// A weight, what its inputs' second moment is, and its factors.
    private static func problem(_ m: Int = 40, _ n: Int = 56, balance: Bool = true) throws -> (
        weight: Tensor, norm: OutputNorm, start: TernaryDecomposition
    ) {
        var random = RandomStream(seed: 5)
        let weight = Tensor(normal: [m, n], from: &random)
        // A few directions own most of the inputs.
        var inputs = Tensor(normal: [4 * n, n], from: &random)
        for i in 0..<inputs.rows {
            for j in 0..<n { inputs.mutablePointer[i * n + j] *= j % 7 == 0 ? 5 : 1 }
        }
        var mixed = matmul(inputs, .asStored, Tensor(normal: [n, n], from: &random))
        mixed.scale(by: 0.1)
        var moment = matmul(mixed, .transposed, mixed)
        moment.scale(by: 1 / Float(mixed.rows))
        for j in 0..<n { moment.mutablePointer[j * (n + 1)] += 0.05 }
        var options = TernaryOptions(tolerance: 0.25)
        (options.balance, options.economy) = (balance, false)
        return (weight, OutputNorm(inputs: moment), try TernaryDecomposition(weight, options))
    }

    @Test(arguments: [TernaryWeighting.inputs, .both], [true, false])
    func `no round raises the error of the outputs, and it falls well below the start's`(
        weighting: TernaryWeighting, balance: Bool
    ) throws {
        let (weight, norm, start) = try Self.problem(balance: balance)
        var descent = WeightedDescent(weight, start, norm, weighting)
        let first = descent.objective
        var last = first
        for _ in 0..<5 {
            try descent.run(rounds: 1)
            #expect(descent.objective <= last * (1 + 1e-6))
            last = descent.objective
        }
        #expect(last < 0.6 * first, "\(last) of \(first)")
        #expect(Double(descent.decomposition().nonzeros) < 1.5 * Double(start.nonzeros))
    }

    @Test func `the objective is that of the matrix the factors stand for`() throws {
        let (weight, norm, start) = try Self.problem()
        var descent = WeightedDescent(weight, start, norm, .inputs)
        try descent.run(rounds: 2)
        let result = descent.decomposition()
        let error = weight - result.reconstruction()
        let expected = norm.squared(error, rowWeights: [Float](repeating: 1, count: 40))
        #expect(abs(descent.objective / expected - 1) < 1e-3)
        // Files hold scales of 16 bits as they are.
        let scales = result.s.elements + (result.balance.map { $0.a + $0.b } ?? [])
        #expect(scales.allSatisfy { $0.bitPattern & 0xFFFF == 0 })
    }

    @Test func `in the end no entry of U or V is better changed alone`() throws {
        let (weight, norm, start) = try Self.problem(12, 16)
        var descent = WeightedDescent(weight, start, norm, .inputs)
        try descent.run(rounds: 60)
        let best = descent.objective
        let result = descent.decomposition()
        let ones = [Float](repeating: 1, count: 12)
        func objective(_ u: Tensor, _ v: Tensor) -> Double {
            let changed = TernaryDecomposition(u: u, s: result.s, v: v, balance: result.balance, relativeError: 0)
            return norm.squared(weight - changed.reconstruction(), rowWeights: ones)
        }
        for place in 0..<result.u.count {
            for value in [-1, 0, 1] as [Float] {
                var u = result.u.copy()
                u.mutablePointer[place] = value
                #expect(objective(u, result.v) > best * (1 - 1e-3))
            }
        }
        for place in 0..<result.v.count {
            for value in [-1, 0, 1] as [Float] {
                var v = result.v.copy()
                v.mutablePointer[place] = value
                #expect(objective(result.u, v) > best * (1 - 1e-3))
            }
        }
    }
}
