import TensorCore
import TestSupport
import Testing

@testable import TernarySVD

@Suite struct TernarySumTests {
    private func trits(_ shape: [Int], _ random: inout RandomStream) -> Tensor {
        Tensor((0..<shape[0] * shape[1]).map { _ in [0, 0, 0, 1, -1][Int(random.next() % 5)] }, shape)
    }

    /// Shapes around the tile's 64 components and 128 columns.
    @Test(arguments: [[1, 1, 1], [3, 63, 127], [5, 64, 128], [7, 65, 129], [40, 200, 300], [4, 0, 6]])
    func `the product is the sum over the components in their order, to the last bit`(_ shape: [Int]) {
        let (m, k, n) = (shape[0], shape[1], shape[2])
        var random = RandomStream(seed: UInt64(m + k + n))
        let (u, v, s) = (trits([m, k], &random), trits([k, n], &random), Tensor(normal: [k], from: &random))
        let product = TernarySum(u: u, v: v).product(s)
        for i in 0..<m {
            for l in 0..<n {
                var sum: Float = 0
                for j in 0..<k where u[flat: i * k + j] != 0 { sum += u[flat: i * k + j] * (s[flat: j] * v[flat: j * n + l]) }
                #expect(product[flat: i * n + l] == sum)
            }
        }
    }

    @Test(arguments: [[9, 70, 33], [9, 70, 300], [4, 0, 130]], [false, true])
    func `settling keeps W + ρ, and W is what the factors stand for`(_ shape: [Int], _ isBalanced: Bool) {
        let (m, k, n) = (shape[0], shape[1], shape[2])
        var random = RandomStream(seed: 3)
        let (u, v, s) = (trits([m, k], &random), trits([k, n], &random), Tensor(normal: [k], from: &random))
        let balance = isBalanced ? Balance(a: (1...m).map { Float($0) / 4 }, b: (1...n).map { 3 / Float($0) }) : nil
        var (weight, rest) = (Tensor(normal: [m, n], from: &random), Tensor(normal: [m, n], from: &random))
        let a = weight + rest
        TernarySum(u: u, v: v).carryResidual(s, balance, weight: &weight, rest: &rest)
        let expected = TernaryDecomposition(u: u, s: s, v: v, balance: balance, relativeError: 0).reconstruction()
        #expect(weight.elements == expected.elements)
        #expect(rest.elements == (a - weight).elements)
    }

    @Test func `the sum and the residual carried by it do not depend on the threads`() {
        let (m, k, n) = (150, 90, 700)
        var random = RandomStream(seed: 4)
        let (u, v, s) = (trits([m, k], &random), trits([k, n], &random), Tensor(normal: [k], from: &random))
        let (w, rho) = (Tensor(normal: [m, n], from: &random), Tensor(normal: [m, n], from: &random))
        let sum = TernarySum(u: u, v: v)
        let results = [1, 2, 7].map { threads in
            withThreads(threads) {
                var (weight, rest) = (w, rho)
                sum.carryResidual(s, nil, weight: &weight, rest: &rest)
                return (weight.elements, rest.elements)
            }
        }
        #expect(results.allSatisfy { $0 == results[0] })
        #expect(results[0].0 == sum.product(s).elements)
    }

    /// Lengths around a vector's 16 entries and a word's 64.
    @Test(arguments: [15, 16, 17, 63, 64, 65, 130]) func `the signs of components are those of their entries`(_ length: Int) {
        var random = RandomStream(seed: UInt64(length))
        let (m, k, n) = (length, 3, 70)
        let (u, v) = (trits([m, k], &random), trits([k, n], &random))
        let signs = Components(u: u, s: Tensor(normal: [k], from: &random), v: v).signs
        func entry(_ words: ArraySlice<UInt64>, _ i: Int) -> Float {
            let half = words.count / 2
            func bit(_ start: Int) -> Float { Float(words[words.startIndex + start + i / 64] >> UInt64(i % 64) & 1) }
            return bit(0) - bit(half)
        }
        for j in 0..<k {
            let (left, right) = (signs[j].prefix(2 * ((m + 63) / 64)), signs[j].suffix(2 * ((n + 63) / 64)))
            #expect((0..<m).map { entry(left, $0) } == (0..<m).map { u[flat: $0 * k + j] })
            #expect((0..<n).map { entry(right, $0) } == (0..<n).map { v[flat: j * n + $0] })
        }
    }
}
